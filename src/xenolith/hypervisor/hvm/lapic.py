"""The local APIC of one vCPU, in xAPIC and x2APIC mode (Intel SDM volume 3, chapter 11).

It has what Linux uses on PVH: interrupts by vector with priorities, the timer, IPIs of every kind, INIT and
start-up. There is no I/O APIC, so nothing is level-triggered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from xenolith.engine.hvm import GuestException, Vector
from xenolith.hypervisor.hvm.apic_base import ApicBase, ApicMode
from xenolith.hypervisor.hvm.ipi import is_illegal, send_ipi
from xenolith.hypervisor.hvm.lapic_registers import (
    ESR_RECEIVE_ILLEGAL_VECTOR,
    ESR_SEND_ILLEGAL_VECTOR,
    FIRST_VALID_VECTOR,
    ICR_BUSY,
    LVT_MASKED,
    LVT_PERIODIC,
    LVTS,
    SVR_ENABLE,
    VECTOR,
    X2APIC_READABLE,
    X2APIC_WRITABLE,
    Register,
)
from xenolith.hypervisor.hvm.lapic_timer import LapicTimer
from xenolith.hypervisor.timers import TimerQueue

_VERSION = 0x50014
_LOW32 = 0xFFFFFFFF

_EOI = Register.EOI.value
_ICR = Register.ICR.value
_TIMER_INITIAL = Register.TIMER_INITIAL.value
_TPR = Register.TPR.value


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
        self._timer = LapicTimer(timers, now, self._timer_expired)
        self._base = ApicBase(is_bootstrap_processor=apic_id == 0)
        self._readers: dict[int, Callable[[], int]] = {
            Register.ID.value: lambda: apic_id if self.x2apic else apic_id << 24 & _LOW32,
            Register.VERSION.value: lambda: _VERSION,
            Register.PPR.value: lambda: self.processor_priority,
            Register.LDR.value: self._logical_id,
            _TIMER_INITIAL: lambda: self._timer.initial,
            Register.TIMER_CURRENT.value: self._timer.current,
            Register.TIMER_DIVIDE.value: lambda: self._timer.divide,
        }
        self._writers: dict[int, Callable[[int], None]] = {
            _TPR: self._write_tpr,
            _EOI: self._end_of_interrupt,
            Register.LDR.value: self._write_ldr,
            Register.DFR.value: self._write_dfr,
            Register.SVR.value: self._write_svr,
            Register.ESR.value: self._write_esr,
            _ICR: self._write_icr,
            Register.ICR_HIGH.value: self._write_icr_high,
            Register.LVT_TIMER.value: self._write_lvt_timer,
            _TIMER_INITIAL: self._timer.set_initial,
            Register.TIMER_DIVIDE.value: self._timer.set_divide,
        }
        self.reset()

    def reset(self) -> None:
        """What INIT does: all but the id and the base register."""
        self._irr = self._isr = 0
        self._tpr = 0
        self._enabled = False
        self._errors = 0
        self._registers: dict[int, int] = {
            Register.LDR.value: 0,
            Register.DFR.value: _LOW32,
            Register.SVR.value: VECTOR,
            Register.ESR.value: 0,
            _ICR: 0,
            Register.ICR_HIGH.value: 0,
            **dict.fromkeys(LVTS, LVT_MASKED),
        }
        self._timer.reset()

    @property
    def x2apic(self) -> bool:
        """Whether the guest has switched to x2APIC mode."""
        return self._base.mode is ApicMode.X2APIC

    @property
    def xapic(self) -> bool:
        """Whether its registers are in the xAPIC page."""
        return self._base.mode is ApicMode.XAPIC

    @property
    def accepts_interrupts(self) -> bool:
        """Whether it is enabled, by its base register and by software."""
        return self._enabled

    @property
    def processor_priority(self) -> int:
        """The higher of the task's priority and that of the vector in service."""
        in_service = (self._isr.bit_length() - 1) & 0xF0 if self._isr else 0
        return self._tpr if self._tpr & 0xF0 >= in_service else in_service

    def pending_vector(self) -> int:
        """The highest pending vector that the priorities let through, or -1."""
        irr = self._irr
        if not irr or not self._enabled:
            return -1
        vector = irr.bit_length() - 1
        return vector if vector & 0xF0 > self.processor_priority & 0xF0 else -1

    def accept(self, vector: int) -> None:
        """The CPU has taken the vector: it is in service until the EOI."""
        self._irr &= ~(1 << vector)
        self._isr |= 1 << vector

    def raise_vector(self, vector: int) -> None:
        """Make a vector pending."""
        if vector < FIRST_VALID_VECTOR:
            self._error(ESR_RECEIVE_ILLEGAL_VECTOR)
            return
        self._irr |= 1 << vector
        self._bus.interrupt(self)

    def nmi(self) -> None:
        """Take an NMI."""
        self._bus.nmi(self)

    def init(self) -> None:
        """Take an INIT."""
        self._bus.init(self)

    def startup(self, page: int) -> None:
        """Take a start-up IPI."""
        self._bus.startup(self, page)

    def matches_physical(self, destination: int) -> bool:
        """Whether a physical destination names this APIC, perhaps with all others."""
        return destination in (self.apic_id, _LOW32 if self.x2apic else 0xFF)

    def matches_logical(self, destination: int) -> bool:
        """Whether a logical destination names this APIC (SDM sections 11.6.2 and 11.12.10)."""
        own = self._logical_id()
        if self.x2apic:
            return destination >> 16 == own >> 16 and bool(destination & own & 0xFFFF)
        own >>= 24
        if self._registers[Register.DFR] >> 28 == 0xF:
            return bool(own & destination)
        return own >> 4 == destination >> 4 & 0xF and bool(own & destination & 0xF)

    def read_msr(self, msr: int) -> int:
        """An x2APIC MSR (0x800-0x8ff); GuestException(#GP) where none is or in xAPIC mode."""
        offset = (msr - 0x800) << 4
        if not self.x2apic or offset not in X2APIC_READABLE:
            raise GuestException(Vector.GP)
        return self.read_register(offset)

    def write_msr(self, msr: int, value: int) -> None:
        """Write an x2APIC MSR; GuestException(#GP) as for :meth:`read_msr` and for reserved bits."""
        offset = (msr - 0x800) << 4
        writable = X2APIC_WRITABLE.get(offset)
        if writable is None or value & ~writable or not self.x2apic:
            raise GuestException(Vector.GP)
        if offset == _ICR:
            self._registers[_ICR] = value
            self._send(value & _LOW32, value >> 32)
        elif offset == Register.SELF_IPI:
            if value < FIRST_VALID_VECTOR:
                self._error(ESR_SEND_ILLEGAL_VECTOR)
            elif self._enabled:
                self.raise_vector(value)
        else:
            self.write_register(offset, value)

    def read_base(self) -> int:
        """IA32_APIC_BASE."""
        return self._base.read()

    def write_base(self, value: int) -> None:
        """Switch modes; GuestException(#GP) as ApicBase.write()."""
        self._base.write(value)
        if self._base.mode is ApicMode.DISABLED:
            self.reset()

    def read_register(self, offset: int) -> int:
        """A register by its xAPIC offset, 0 where none is; 32 bits, but for x2APIC's ICR."""
        reader = self._readers.get(offset)
        if reader is not None:
            return reader()
        if offset == _TPR:
            return self._tpr
        for base, bits in ((Register.ISR, self._isr), (Register.IRR, self._irr)):
            if base <= offset < base + 0x80:
                return bits >> 2 * (offset - base) & _LOW32
        return self._registers.get(offset, 0)

    def write_register(self, offset: int, value: int) -> None:
        """Store 32 bits into a register by its xAPIC offset; nothing happens where none is."""
        writer = self._writers.get(offset)
        if writer is not None:
            writer(value)
        elif offset in LVTS:
            self._write_lvt(offset, value)

    def _write_tpr(self, value: int) -> None:
        self._tpr = value & 0xFF

    def _end_of_interrupt(self, _value: int) -> None:
        if self._isr:
            self._isr ^= 1 << self._isr.bit_length() - 1

    def _write_ldr(self, value: int) -> None:
        self._registers[Register.LDR] = value & 0xFF000000

    def _write_dfr(self, value: int) -> None:
        self._registers[Register.DFR] = value | 0x0FFFFFFF

    def _write_svr(self, value: int) -> None:
        self._registers[Register.SVR] = value & 0x3FF
        self._enabled = bool(value & SVR_ENABLE)
        if not self._enabled:
            for offset in LVTS:
                self._registers[offset] |= LVT_MASKED

    def _write_esr(self, _value: int) -> None:
        """Show the errors since the last write."""
        self._registers[Register.ESR], self._errors = self._errors, 0

    def _write_icr(self, value: int) -> None:
        command = value & ~ICR_BUSY
        self._registers[_ICR] = command
        self._send(command, self._registers[Register.ICR_HIGH] >> 24)

    def _write_icr_high(self, value: int) -> None:
        self._registers[Register.ICR_HIGH] = value & 0xFF000000

    def _write_lvt(self, offset: int, value: int) -> None:
        if not self._enabled:
            value |= LVT_MASKED
        self._registers[offset] = value & LVTS[offset]

    def _write_lvt_timer(self, value: int) -> None:
        self._write_lvt(Register.LVT_TIMER, value)
        self._timer.set_periodic(bool(value & LVT_PERIODIC))

    def _send(self, command: int, destination: int) -> None:
        if is_illegal(command):
            self._error(ESR_SEND_ILLEGAL_VECTOR)
        else:
            send_ipi(self, self._bus.lapics, command, destination)

    def _error(self, bit: int) -> None:
        if self._errors & bit:
            return
        self._errors |= bit
        entry = self._registers[Register.LVT_ERROR]
        if not entry & LVT_MASKED:
            # An illegal vector comes back here once, as the other error.
            self.raise_vector(entry & VECTOR)

    def _logical_id(self) -> int:
        if self.x2apic:
            return (self.apic_id >> 4) << 16 | 1 << (self.apic_id & 0xF)
        return self._registers[Register.LDR]

    def _timer_expired(self) -> None:
        entry = self._registers[Register.LVT_TIMER]
        if not entry & LVT_MASKED:
            self.raise_vector(entry & VECTOR)
