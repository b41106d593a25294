"""Counts, times and errors of a trace by hypercall and by event: the table of `xl strace -c`.

Its columns are those of strace(1), so whoever reads one can read the other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from xenolith.hypervisor.trace import line
from xenolith.hypervisor.trace.line import Line

_RULE = "------ ----------- ----------- --------- --------- ----------------"
_HEADER = f"{'% time':>6} {'seconds':>11} {'usecs/call':>11} {'calls':>9} {'errors':>9} hypercall"


@dataclass
class _Tally:
    """The calls of one name."""

    calls: int = 0
    errors: int = 0
    time_us: float = 0.0


class Summary:
    """Adds up lines. The time of a call does not include that of the calls within it."""

    def __init__(self) -> None:
        self._calls: dict[str, _Tally] = {}
        self._events: Counter[str] = Counter()
        self._within: list[_Tally] = []
        """What the next line may have happened within, by depth."""

    def add(self, traced: Line) -> None:
        """Count a line."""
        event = line.parse_event(traced.what)
        if event is not None:
            self._events[f"port {event.port} ({event.kind})"] += 1
            return
        call = line.parse_call(traced.what)
        if call is None:
            return
        name = f"{call.name}({call.command})" if call.command else call.name
        tally = self._calls.setdefault(name, _Tally())
        tally.calls += 1
        tally.errors += call.failed
        tally.time_us += call.time_us
        self._within[traced.depth :] = [tally]
        if traced.depth and len(self._within) > traced.depth:
            self._within[traced.depth - 1].time_us -= call.time_us

    def table(self) -> str:
        """The table, each line ended."""
        rows = sorted(self._calls.items(), key=lambda item: -item[1].time_us)
        every = _Tally(
            sum(tally.calls for _, tally in rows),
            sum(tally.errors for _, tally in rows),
            sum(tally.time_us for _, tally in rows),
        )
        lines = [_HEADER, _RULE]
        lines += [_row(name, tally, every) for name, tally in rows]
        lines += [_RULE, _row("total", every, every)]
        if self._events:
            lines += ["", f"{'events':>9} port", f"{'-' * 9} {'-' * 16}"]
            lines += [f"{count:>9} {port}" for port, count in self._events.most_common()]
        return "".join(f"{text}\n" for text in lines)


def _row(name: str, tally: _Tally, every: _Tally) -> str:
    share = 100 * tally.time_us / every.time_us if every.time_us else 0.0
    each = tally.time_us / tally.calls if tally.calls else 0.0
    return (
        f"{share:6.2f} {tally.time_us / 1e6:11.6f} {each:11.1f} {tally.calls:9} "
        f"{tally.errors or '':>9} {name}"
    )
