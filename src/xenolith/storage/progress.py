"""How far long work has come, for whoever wants to show it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called again and again with the bytes that are done and those that there are in all."""


def silent(_done: int, _total: int) -> None:
    """Show nothing."""
