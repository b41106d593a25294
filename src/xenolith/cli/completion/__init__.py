"""Scripts that let shells complete xl's command lines, generated from the table of verbs."""

from __future__ import annotations

from collections.abc import Callable

from xenolith.cli.completion.bash import script as bash_script

SHELLS: dict[str, Callable[[], str]] = {"bash": bash_script}
"""What generates the script of each shell."""
