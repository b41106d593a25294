"""A bar that shows on a terminal how far long work has come."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from xenolith.storage.progress import Progress, silent

_INTERVAL_S = 0.1
_PATIENCE_S = 0.3
"""Work that is done sooner shows no bar."""
_MOST_COLUMNS = 60


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """Draw on standard error what is reported, if that is a terminal; wipe it in the end."""
    if not sys.stderr.isatty():
        yield silent
        return
    bar = _Bar(what)
    try:
        yield bar.show
    finally:
        bar.wipe()


class _Bar:
    def __init__(self, what: str) -> None:
        self._what = what
        self._next = time.monotonic() + _PATIENCE_S
        self._is_drawn = False

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next or not total:
            return
        self._next = now + _INTERVAL_S
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
        width = max(0, min(_MOST_COLUMNS, columns - len(self._what) - 10))
        filled = width * done // total
        bar = "#" * filled + "-" * (width - filled)
        print(
            f"\r{self._what} [{bar}] {100 * done // total:3}%", end="", file=sys.stderr, flush=True
        )
        self._is_drawn = True

    def wipe(self) -> None:
        if self._is_drawn:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
