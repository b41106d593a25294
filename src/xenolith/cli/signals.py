"""Holds back the signals that want xl to end, or turns them into an exception, where leaving at
any instant would leave something half done.

SIGINT, SIGTERM, SIGHUP and SIGQUIT are treated alike: whoever sends them wants the command gone.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from xenolith.cli.command import Interrupted

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Held:
    """The signal that arrived while signals were held back, if one did."""

    def __init__(self) -> None:
        self.arrived: int | None = None

    def hold(self, signum: int, _frame: FrameType | None) -> None:
        """Remember a signal; a second one ends the command at once."""
        if self.arrived is not None:
            raise Interrupted(signum)
        self.arrived = signum


@contextmanager
def held_signals() -> Iterator[Held]:
    """Hold ending signals back inside; :class:`Interrupted` follows at the end if one came."""
    held = Held()
    with _handled_by(held.hold):
        yield held
    if held.arrived is not None:
        raise Interrupted(held.arrived)


@contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Have ending signals raise :class:`Interrupted` inside."""
    with _handled_by(leave):
        yield


def leave(signum: int, _frame: FrameType | None) -> None:
    """Raise :class:`Interrupted`, as a signal handler."""
    raise Interrupted(signum)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in ENDING_SIGNALS}
    # What the caller had ignored (nohup, a job in the background) stays ignored.
    changed = [signum for signum, old in before.items() if old is not signal.SIG_IGN]
    for signum in changed:
        signal.signal(signum, handler)
    try:
        yield
    finally:
        for signum in changed:
            signal.signal(signum, before[signum])
