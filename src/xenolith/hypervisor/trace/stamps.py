"""What a line of a trace begins with: `xl strace` has the choices of strace(1)'s -t and -r.

A stamp is made from the line's system time and from the wall clock at system time 0, both in µs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from xenolith.hypervisor.trace import line

Stamp = Callable[[int, int], str]


def system_time(time_us: int, _origin_us: int) -> str:
    """The domain's system time in seconds, as in the lines themselves."""
    return line.seconds(time_us)


def time_of_day(time_us: int, origin_us: int) -> str:
    """The domain's wall clock, in the time zone of whoever looks."""
    seconds, microseconds = divmod(origin_us + time_us, 1_000_000)
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{microseconds:06d}"


def since_last() -> Stamp:
    """Seconds since the line before; a new stamp for each trace."""
    last_us: int | None = None

    def stamp(time_us: int, _origin_us: int) -> str:
        nonlocal last_us
        since_us = 0 if last_us is None else time_us - last_us
        last_us = time_us
        return line.seconds(since_us)

    return stamp
