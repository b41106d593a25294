"""Looks on at a domain: turns its hypercalls and events into lines, while somebody wants them.

What a call causes (the entries of a multicall, events) is shown below it, so the lines of a call are held until
it is over. Nothing here changes what the guest sees, or fails because of what the guest passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from xenolith.abi.errno import XenError
from xenolith.abi.xen import Virq
from xenolith.hypervisor.event_channel.channel import Channel, ChannelState
from xenolith.hypervisor.guest_access import Continuation
from xenolith.hypervisor.trace import line, values
from xenolith.hypervisor.trace.decoding import Look, Reading, Registers, Signature
from xenolith.hypervisor.trace.line import Line
from xenolith.hypervisor.trace.signatures import signature_of

if TYPE_CHECKING:
    from xenolith.hypervisor.domain import Domain
    from xenolith.hypervisor.event_channel.delivery import Delivery
    from xenolith.hypervisor.hypercalls.table import Handler
    from xenolith.hypervisor.vcpu import Vcpu

_VIRQS = {virq.value: f"virq {virq.name.lower()}" for virq in Virq}
_BACKEND = "backend"


def attach(domain: Domain, sink: Callable[[str], None]) -> None:
    """Trace a domain into ``sink``, a line at a time, until Domain.trace(None)."""
    domain.trace(DomainTrace(domain, sink))
    origin = domain.clock.wall_clock_origin_ns
    what = line.attached(domain.domid, origin)
    sink(str(Line(domain.clock.now() // 1000, line.NOBODY, 0, what)))


class _CallUnderWay(NamedTuple):
    """A hypercall between its beginning and its end."""

    name: str
    reading: Reading
    made: int
    place: int
    """Where its line is to stand among those held."""
    started: int
    """When the call itself began, its arguments having been decoded."""


class DomainTrace:
    """Implements hypervisor.domain.Tracer."""

    def __init__(self, domain: Domain, sink: Callable[[str], None]) -> None:
        self._ring_name = domain.ring_name
        self._now = domain.clock.now
        self._sink = sink
        self._callers: list[str] = []
        """Who makes the calls that are under way, the outermost first: all are the same vCPU."""
        self._held: list[Line | None] = []
        """Lines to be written once the outermost call is over; None is that of a call under way."""

    def hypercall(self, vcpu: Vcpu, number: int, registers: Registers, handler: Handler) -> int:
        """See Tracer."""
        call = self._enter(vcpu, number, registers)
        try:
            result = handler(vcpu, *registers)
        except BaseException as outcome:
            self._leave(call, outcome)
            raise
        self._leave(call, result)
        return result

    def sent(self, channel: Channel) -> None:
        """See EventObserver."""
        self._event(channel, f"{self._actor} → {_BACKEND}")

    def raised(self, channel: Channel, delivery: Delivery) -> None:
        """See EventObserver."""
        way = f"→ {values.vcpu(channel.vcpu_id)}"
        if channel.notify is not None:
            way = f"{_BACKEND} {way}"
        elif channel.state is not ChannelState.VIRQ:
            way = f"{self._actor} {way}"
        if delivery.is_pending(channel):
            way += ", already pending"
        if delivery.is_masked(channel):
            way += ", masked"
        self._event(channel, way)

    @property
    def _actor(self) -> str:
        return self._callers[-1] if self._callers else line.NOBODY

    def _enter(self, vcpu: Vcpu, number: int, registers: Registers) -> _CallUnderWay:
        made = self._now()
        name, signature = signature_of(number)
        reading = _read(signature, Look(vcpu.paging, made), registers)
        place = len(self._held)
        self._held.append(None)
        self._callers.append(values.vcpu(vcpu.id))
        return _CallUnderWay(name, reading, made, place, self._now())

    def _leave(self, call: _CallUnderWay, outcome: int | BaseException) -> None:
        took = self._now() - call.started
        who = self._callers.pop()
        what = line.call(
            call.name, _arguments(call.reading, outcome), _result(call.reading, outcome), took
        )
        self._held[call.place] = Line(call.made // 1000, who, len(self._callers), what)
        if not self._callers:
            lines, self._held = self._held, []
            for held in lines:
                self._sink(str(held))

    def _event(self, channel: Channel, way: str) -> None:
        what = line.event(channel.port, self._kind(channel), way)
        seen = Line(self._now() // 1000, self._actor, len(self._callers), what)
        if self._callers:
            self._held.append(seen)
        else:
            self._sink(str(seen))

    def _kind(self, channel: Channel) -> str:
        """What the port is for."""
        if channel.state is ChannelState.VIRQ:
            return _VIRQS.get(channel.virq) or f"virq {channel.virq}"
        if channel.notify is not None:
            ring = self._ring_name(channel.port)
            if ring is not None:
                return ring
        return channel.state.name.lower()


def _read(signature: Signature, look: Look, registers: Registers) -> Reading:
    try:
        return signature.read(look, registers)
    except Exception as bug:
        # A mistake in a decode table must not end the domain that somebody only looks at.
        text = _undecoded(bug)
        return Reading(lambda _answered: text, values.number)


def _arguments(reading: Reading, outcome: int | BaseException) -> str:
    answered = outcome >= 0 if isinstance(outcome, int) else isinstance(outcome, Continuation)
    try:
        return reading.finish(answered)
    except Exception as bug:
        # As above.
        return _undecoded(bug)


def _undecoded(bug: Exception) -> str:
    return f"<not decoded: {bug!r}>"


def _result(reading: Reading, outcome: int | BaseException) -> str:
    match outcome:
        case int():
            return reading.result(outcome) if outcome >= 0 else values.error(outcome)
        case XenError():
            why = f" ({outcome.why})" if outcome.why else ""
            return f"-{outcome.errno.name}{why}"
        case Continuation():
            return line.CONTINUED
        case _:
            return line.UNFINISHED
