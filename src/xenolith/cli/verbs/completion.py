"""`xl completion`: the script that lets a shell complete xl's commands."""

from __future__ import annotations

from xenolith.cli.command import ONE, CommandError, parse_options
from xenolith.cli.completion import SHELLS

NAME = "completion"
SYNOPSIS = "bash"
HELP = """\
Print a script with which a shell completes xl's commands
In bash: source <(xl completion bash)
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Print the script."""
    options = parse_options(arguments, SHORT, LONG, ONE)
    shell = options.operands[0]
    if shell not in SHELLS:
        raise CommandError(f"there is no completion for '{shell}', only for {', '.join(SHELLS)}")
    print(SHELLS[shell]())
    return 0
