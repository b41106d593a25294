"""Which lines of a trace somebody wants to see: `xl strace -e`, after strace(1)'s option of that name."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from xenolith.abi.event_channel import EventChannelOp
from xenolith.abi.grant_table import GrantTableOp
from xenolith.abi.hvm_op import HvmOp
from xenolith.abi.memory import MemoryOp
from xenolith.abi.physdev import PhysdevOp
from xenolith.abi.sched import SchedOp
from xenolith.abi.vcpu import VcpuOp
from xenolith.abi.version import VersionOp
from xenolith.abi.xen import ConsoleIoOp, Hypercall, VmAssistCommand
from xenolith.hypervisor.trace import line, values
from xenolith.hypervisor.trace.line import Line

_COMMANDS: tuple[type[IntEnum], ...] = (
    EventChannelOp, GrantTableOp, HvmOp, MemoryOp, PhysdevOp, SchedOp, VcpuOp, VersionOp, ConsoleIoOp,
    VmAssistCommand,
)  # fmt: skip

_EVENT = "event"
_EVENT_KINDS = ("virq", "ipi", "console", "xenstore", "interdomain")


class FilterError(Exception):
    """An expression that selects nothing; the message is a sentence without full stop."""


class Filter:
    """Passes the lines that an expression selects: names separated by commas, ``!`` before all of them negates.

    A name is that of a hypercall, of a command, or ``event``, or what an event is for. A line that
    happened within one that is not shown moves to the left.
    """

    def __init__(self, expression: str) -> None:
        self._negated = expression.startswith("!")
        self._names = {word.strip() for word in expression.removeprefix("!").split(",")}
        unknown = self._names - known_names()
        if unknown:
            raise FilterError(_explain(min(unknown)))
        self._shown: list[bool] = []
        """Whether the lines were shown that the next one may have happened within, by depth."""

    def select(self, traced: Line) -> Line | None:
        """The line as it is to be shown, or None."""
        shown = self._names.isdisjoint(_names_of(traced.what)) == self._negated
        self._shown[traced.depth :] = [shown]
        return traced._replace(depth=sum(self._shown[: traced.depth])) if shown else None


def known_names() -> set[str]:
    """Every name that an expression may have."""
    enums: Iterable[type[IntEnum]] = (Hypercall, *_COMMANDS)
    names = {name for enum in enums for name in values.names(enum).values()}
    return names | {_EVENT, *_EVENT_KINDS}


def _names_of(what: str) -> set[str]:
    event = line.parse_event(what)
    if event is not None:
        return {_EVENT, event.kind.split()[0]}
    call = line.parse_call(what)
    return set() if call is None else {call.name, call.command}


def _explain(word: str) -> str:
    import difflib  # noqa: PLC0415 - it is slow to import and hardly ever needed

    near = difflib.get_close_matches(word, sorted(known_names()), n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    return f"'{word}' is no hypercall, command or kind of event{hint}"
