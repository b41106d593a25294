"""The local APIC of one vCPU, in xAPIC and x2APIC mode (Intel SDM volume 3, chapter 11).

It has what Linux uses on PVH: interrupts by vector with priorities, the timer (one-shot and periodic), IPIs of
every kind, INIT and start-up. There is no I/O APIC, so nothing is level-triggered.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from xenolith.engine.hvm import GuestException, Vector
from xenolith.hypervisor.timers import TimerQueue

APIC_BASE_ADDRESS = 0xFEE00000
TIMER_HZ = 100_000_000
"""The bus clock that the timer divides, as Xen's APIC_BUS_CYCLE_NS."""

_NS_PER_TICK = 1_000_000_000 // TIMER_HZ
_VERSION = 0x50014
_BASE_BSP = 1 << 8
_BASE_X2APIC = 1 << 10
_BASE_ENABLE = 1 << 11
_BASE_ADDRESS_BITS = 0xFF_FFFF_F000
_SVR_ENABLE = 1 << 8
_LVT_MASKED = 1 << 16
_LVT_PERIODIC = 1 << 17
_LVT_WRITABLE = 0x310FF | 0x700
_FIRST_VALID_VECTOR = 16
_LOW32 = 0xFFFFFFFF


class Register(IntEnum):
    """Offsets of the registers in the xAPIC page; an x2APIC MSR is 0x800 + offset / 16."""

    ID = 0x20
    VERSION = 0x30
    TPR = 0x80
    PPR = 0xA0
    EOI = 0xB0
    LDR = 0xD0
    DFR = 0xE0
    SVR = 0xF0
    ISR = 0x100
    TMR = 0x180
    IRR = 0x200
    ESR = 0x280
    ICR = 0x300
    ICR_HIGH = 0x310
    LVT_TIMER = 0x320
    LVT_THERMAL = 0x330
    LVT_PERFORMANCE = 0x340
    LVT_LINT0 = 0x350
    LVT_LINT1 = 0x360
    LVT_ERROR = 0x370
    TIMER_INITIAL = 0x380
    TIMER_CURRENT = 0x390
    TIMER_DIVIDE = 0x3E0
    SELF_IPI = 0x3F0


_PLAIN = (
    Register.LVT_THERMAL,
    Register.LVT_PERFORMANCE,
    Register.LVT_LINT0,
    Register.LVT_LINT1,
    Register.LVT_ERROR,
)


class Delivery(IntEnum):
    """How an IPI is delivered."""

    FIXED = 0
    LOWEST_PRIORITY = 1
    SMI = 2
    NMI = 4
    INIT = 5
    STARTUP = 6


class ApicBus(Protocol):
    """What carries IPIs and wakes vCPUs: the domain."""

    lapics: list[LocalApic]

    def interrupt(self, lapic: LocalApic) -> None:
        """A vector became pending: wake the vCPU."""

    def nmi(self, lapic: LocalApic) -> None:
        """Deliver an NMI to the vCPU."""

    def init(self, lapic: LocalApic) -> None:
        """Reset the vCPU and leave it waiting for a start-up IPI."""

    def startup(self, lapic: LocalApic, page: int) -> None:
        """Start a vCPU that waits for it, in real mode at ``page`` << 12."""


class LocalApic:
    """One local APIC. ``pending_vector`` is asked before every entry into the guest."""

    def __init__(
        self, apic_id: int, bus: ApicBus, timers: TimerQueue, now: Callable[[], int]
    ) -> None:
        self.apic_id = apic_id
        self._bus = bus
        self._now = now
        self._timer = timers.new(self._timer_expired)
        self._base = APIC_BASE_ADDRESS | _BASE_ENABLE | (_BASE_BSP if apic_id == 0 else 0)
        self.reset()

    def reset(self) -> None:
        """What INIT does: all but the id and the base register."""
        self._irr = self._isr = 0
        self._tpr = 0
        self._svr = 0xFF
        self._ldr, self._dfr = 0, _LOW32
        self._esr = 0
        self._icr_high = self._icr = 0
        self._lvt_timer = _LVT_MASKED
        self._lvt = dict.fromkeys(_PLAIN, _LVT_MASKED)
        self._divide = 0
        self._initial = 0
        self._timer_start = 0
        self._timer.cancel()

    @property
    def x2apic(self) -> bool:
        """Whether the guest has switched to x2APIC mode."""
        return bool(self._base & _BASE_X2APIC)

    def pending_vector(self) -> int:
        """The highest pending vector that the priorities let through, or -1."""
        irr = self._irr
        if not irr or not self._svr & _SVR_ENABLE:
            return -1
        vector = irr.bit_length() - 1
        return vector if vector >> 4 > self._processor_priority() >> 4 else -1

    def accept(self, vector: int) -> None:
        """The CPU has taken the vector: it is in service until the EOI."""
        self._irr &= ~(1 << vector)
        self._isr |= 1 << vector

    def raise_vector(self, vector: int) -> None:
        """Make a vector pending."""
        if vector < _FIRST_VALID_VECTOR:
            self._esr |= 1 << 6
            return
        self._irr |= 1 << vector
        self._bus.interrupt(self)

    def read(self, offset: int, size: int) -> int:
        """A load from the xAPIC page (engine.hvm.MmioHandler); only aligned words are defined."""
        if offset & 0xF or size != 4:
            return 0
        return self.read_register(offset) & _LOW32

    def write(self, offset: int, size: int, value: int) -> None:
        """A store to the xAPIC page."""
        if offset & 0xF or size != 4 or self.x2apic:
            return
        if offset == Register.ICR:
            self._send(value, self._icr_high >> 24)
            self._icr = value
        elif offset == Register.ICR_HIGH:
            self._icr_high = value
        elif offset == Register.ID:
            pass
        elif offset == Register.LDR:
            self._ldr = value & 0xFF000000
        elif offset == Register.DFR:
            self._dfr = value | 0x0FFFFFFF
        else:
            self._write_register(offset, value)

    def read_register(self, offset: int) -> int:
        """A register by its xAPIC offset; 0 where none is."""
        for base, bits in ((Register.ISR, self._isr), (Register.IRR, self._irr)):
            if base <= offset < base + 0x80:
                return bits >> 2 * (offset - base) & _LOW32
        if offset in self._lvt:
            return self._lvt[Register(offset)]
        match offset:
            case Register.ID:
                return self.apic_id if self.x2apic else self.apic_id << 24
            case Register.VERSION:
                return _VERSION
            case Register.TPR:
                return self._tpr
            case Register.PPR:
                return self._processor_priority()
            case Register.LDR:
                return self._logical_id()
            case Register.DFR:
                return self._dfr
            case Register.SVR:
                return self._svr
            case Register.ESR:
                return self._esr
            case Register.ICR:
                return self._icr
            case Register.ICR_HIGH:
                return self._icr_high
            case Register.LVT_TIMER:
                return self._lvt_timer
            case Register.TIMER_INITIAL:
                return self._initial
            case Register.TIMER_CURRENT:
                return self._current_count()
            case Register.TIMER_DIVIDE:
                return self._divide
        return 0

    def _write_register(self, offset: int, value: int) -> None:
        if offset in self._lvt:
            self._lvt[Register(offset)] = value & _LVT_WRITABLE
            return
        match offset:
            case Register.TPR:
                self._tpr = value & 0xFF
            case Register.EOI:
                if self._isr:
                    self._isr ^= 1 << self._isr.bit_length() - 1
            case Register.SVR:
                self._svr = value & 0x1FF
            case Register.ESR:
                self._esr = 0
            case Register.LVT_TIMER:
                self._lvt_timer = value & _LVT_WRITABLE
            case Register.TIMER_INITIAL:
                self._initial = value & _LOW32
                self._start_timer()
            case Register.TIMER_DIVIDE:
                self._divide = value & 0xB

    def read_msr(self, msr: int) -> int:
        """An x2APIC MSR (0x800-0x8ff); GuestException(#GP) where none is or in xAPIC mode."""
        offset = (msr - 0x800) << 4
        if not self.x2apic or offset in (Register.DFR, Register.ICR_HIGH, Register.EOI):
            raise GuestException(Vector.GP)
        return self.read_register(offset)

    def write_msr(self, msr: int, value: int) -> None:
        """Write an x2APIC MSR; GuestException(#GP) as for :meth:`read_msr`."""
        offset = (msr - 0x800) << 4
        if not self.x2apic:
            raise GuestException(Vector.GP)
        if offset == Register.ICR:
            self._icr = value
            self._send(value & _LOW32, value >> 32)
        elif offset == Register.SELF_IPI:
            self.raise_vector(value & 0xFF)
        elif value >> 32 or offset in (Register.ID, Register.LDR, Register.DFR):
            raise GuestException(Vector.GP)
        else:
            self._write_register(offset, value)

    def read_base(self) -> int:
        """IA32_APIC_BASE."""
        return self._base

    def write_base(self, value: int) -> None:
        """Switch modes; the address is fixed, and only the SDM's transitions are allowed."""
        mode = value & (_BASE_ENABLE | _BASE_X2APIC)
        leaves_x2apic = self.x2apic and mode == _BASE_ENABLE
        if mode == _BASE_X2APIC or leaves_x2apic or value & _BASE_ADDRESS_BITS != APIC_BASE_ADDRESS:
            raise GuestException(Vector.GP)
        self._base = self._base & ~(_BASE_ENABLE | _BASE_X2APIC) | mode
        if not mode:
            self.reset()

    def _send(self, command: int, destination: int) -> None:
        vector, mode = command & 0xFF, command >> 8 & 7
        if mode == Delivery.INIT and command & 0xC000 == 0x8000:
            return  # INIT level de-assert does nothing since the Pentium 4
        targets = self._targets(command, destination)
        if mode == Delivery.LOWEST_PRIORITY:
            targets = targets[:1]
        for lapic in targets:
            match mode:
                case Delivery.FIXED | Delivery.LOWEST_PRIORITY:
                    lapic.raise_vector(vector)
                case Delivery.NMI:
                    self._bus.nmi(lapic)
                case Delivery.INIT:
                    self._bus.init(lapic)
                case Delivery.STARTUP:
                    self._bus.startup(lapic, vector)

    def _targets(self, command: int, destination: int) -> list[LocalApic]:
        shorthand = command >> 18 & 3
        lapics = self._bus.lapics
        if shorthand == 1:
            return [self]
        if shorthand == 2:
            return list(lapics)
        if shorthand == 3:
            return [lapic for lapic in lapics if lapic is not self]
        if destination == (_LOW32 if self.x2apic else 0xFF):
            return list(lapics)
        if command & 1 << 11:
            return [lapic for lapic in lapics if lapic.matches_logical(destination)]
        return [lapic for lapic in lapics if lapic.apic_id == destination]

    def matches_logical(self, destination: int) -> bool:
        """Whether a logical destination names this APIC (SDM sections 11.6.2 and 11.12.10)."""
        own = self._logical_id()
        if self.x2apic:
            return destination >> 16 == own >> 16 and bool(destination & own & 0xFFFF)
        own >>= 24
        if self._dfr >> 28 == 0xF:
            return bool(own & destination)
        return own >> 4 == destination >> 4 and bool(own & destination & 0xF)

    def _logical_id(self) -> int:
        if self.x2apic:
            return (self.apic_id >> 4) << 16 | 1 << (self.apic_id & 0xF)
        return self._ldr

    def _processor_priority(self) -> int:
        in_service = (self._isr.bit_length() - 1) & 0xF0 if self._isr else 0
        return self._tpr if self._tpr >> 4 >= in_service >> 4 else in_service

    def _period(self) -> int:
        """Nanoseconds from the initial count to zero."""
        selector = self._divide & 3 | self._divide >> 1 & 4
        return self._initial * _NS_PER_TICK * (1 << (selector + 1 & 7))

    def _start_timer(self) -> None:
        self._timer_start = self._now()
        if self._initial:
            self._timer.arm(self._timer_start + self._period())
        else:
            self._timer.cancel()

    def _current_count(self) -> int:
        period = self._period()
        if not period:
            return 0
        elapsed = self._now() - self._timer_start
        if self._lvt_timer & _LVT_PERIODIC:
            elapsed %= period
        return max(0, self._initial * (period - elapsed) // period)

    def _timer_expired(self) -> None:
        if self._lvt_timer & _LVT_PERIODIC and self._initial:
            # Periods that the guest was too slow for are dropped, not delivered in a burst.
            period = max(self._period(), 1)
            now = self._now()
            self._timer_start += (now - self._timer_start) // period * period
            self._timer.arm(self._timer_start + max(period, _MINIMUM_PERIOD_NS))
        if not self._lvt_timer & _LVT_MASKED:
            self.raise_vector(self._lvt_timer & 0xFF)


_MINIMUM_PERIOD_NS = 100_000
"""A shorter period would leave the guest no time between interrupts."""
