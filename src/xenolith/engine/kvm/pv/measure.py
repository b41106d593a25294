"""What this host's KVM does with ring 3, found out by a guest of a few instructions.

There are hosts whose KVM runs guests on copies of their page tables, and hosts on which CPUID is no exit.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager

from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm.device import KvmDevice
from xenolith.engine.kvm.pv.engine import KvmPvEngine
from xenolith.engine.kvm.pv.reserved_area import CALL_STUBS
from xenolith.engine.kvm.pv.ring_3 import Ring3
from xenolith.engine.pv import NativeCalls, PvCpuState
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, GuestVirt, Mfn
from xenolith.machine.memory import MachineMemory

_libc = ctypes.CDLL(None)

_FRAMES = 16
_INFO, _CODE, _STACK, _ONE, _OTHER, _ROOT = range(6)
_ALL_RIGHTS = 0x67
"""Present, writable, user, accessed and dirty."""
_SHIFTS = (39, 30, 21)
_BASE = 0x40_0000
_MASK = 1
_CS, _SS = 0xE033, 0xE02B
_BRAND_LEAF, _BRAND = 0x80000002, 0x6F6E6558
_CALL_OFTEN = b"\x0f\x05" + b"\x48\xff\xcb" + b"\x75\xf9" + b"\x0f\x0b"
"""1: syscall; dec rbx; jnz 1b; ud2"""
_TRAPS, _RUNS = 50, 3
_DONE = 1
"""What abs() returns of it is what native code returns of a hypercall that is done with."""

_LOW32 = (1 << 32) - 1
_PATIENCE_S = 1.0

_LOAD_AND_CALL = b"\x48\x8b\x18\x0f\x05"
"""mov rbx, [rax]; syscall"""
_CPUID_AND_CALL = b"\x0f\xa2\x0f\x05"

_BEST = Ring3(follows_tables=True, moves_rip=False, answers_cpuid=True)


class _Guest:
    """A kernel of one page, and its TrapHandler: the first hypercall ends the run."""

    def __init__(self, device: KvmDevice) -> None:
        self._supported = device.supported_cpuid
        self._memory = MachineMemory(_FRAMES)
        self._engine = KvmPvEngine(device, self._memory, _BEST)
        self._words = self._memory.view.cast("Q")
        table = _ROOT
        for shift in _SHIFTS:
            self._link(table, _BASE >> shift & 511, table + 1)
            table += 1
        self._level1 = table
        for frame in range(_ROOT):
            self._link(table, frame, frame)
        self._engine.fill_reserved_slots(Mfn(_ROOT))
        self._vcpu = self._engine.new_vcpu(self)
        self._memory.frame(Mfn(_INFO))[_MASK] = 1
        self._vcpu.use_info(_INFO << PAGE_SHIFT)
        self._called = False

    def sees_change(self) -> bool:
        """Whether it reads another frame once that is behind an address."""
        self._words[_OTHER << PAGE_SHIFT >> 3] = 1
        at = _BASE + _ONE * PAGE_SIZE
        before = self._run(_LOAD_AND_CALL, at)
        self._link(self._level1, _ONE, _OTHER)
        self._engine.flush_tlb()
        return self._run(_LOAD_AND_CALL, at) != before

    def moves_rip(self) -> bool:
        """Whether the stub's OUT was done with when it exited."""
        return bool(self._vcpu.run_page.s.regs.rip != CALL_STUBS)

    def trap_seconds(self) -> float:
        """How long a hypercall takes that native code answers."""
        answer = ctypes.cast(_libc.abs, ctypes.c_void_p).value or 0
        self._engine.call_natively(NativeCalls(_DONE, answer, answer))
        begin = time.perf_counter()
        self._run(_CALL_OFTEN, 0, rbx=_TRAPS)
        return (time.perf_counter() - begin) / _TRAPS

    def brand(self) -> int:
        """A word of the processor's brand."""
        return self._run(_CPUID_AND_CALL, _BRAND_LEAF)

    def close(self) -> None:
        """End it."""
        self._engine.close()

    def hypercall(self) -> None:
        """See TrapHandler."""
        self._called = True
        self._engine.stop()

    def general_protection(self, error_code: int) -> bool:
        """See TrapHandler."""
        return False

    def empty_descriptor(self, selector: int) -> bool:
        """See TrapHandler."""
        return False

    def invalid_opcode(self) -> bool:
        """See TrapHandler: the end of what makes hypercalls that nobody hears of."""
        self.hypercall()
        return True

    def write_protected(self, address: GuestVirt) -> bool:
        """See TrapHandler."""
        return False

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """See TrapHandler."""
        if leaf == _BRAND_LEAF:
            return _BRAND, _BRAND, _BRAND, _BRAND
        return self._supported.get((leaf, subleaf), (0, 0, 0, 0))

    def pause(self) -> None:
        """See TrapHandler: no exit of KVM's."""

    def crash(self, why: str) -> None:
        """See TrapHandler."""
        raise EngineError(f"KVM does not run ring 3: {why}")

    def _run(self, code: bytes, rax: int, rbx: int = 0) -> int:
        """What RBX is when the code has made its hypercall, or come to an UD2."""
        self._memory.write(_CODE << PAGE_SHIFT, code)
        rip = GuestVirt(_BASE + _CODE * PAGE_SIZE)
        stack = GuestVirt(_BASE + (_STACK + 1) * PAGE_SIZE)
        general = {"rax": rax, "rbx": rbx}
        self._vcpu.reset(PvCpuState(rip, stack, _CS, _SS, Mfn(_ROOT), general=general))
        self._called = False
        deadline = time.monotonic() + _PATIENCE_S
        while not self._called:
            self._vcpu.run()
            if time.monotonic() > deadline:
                raise EngineError("KVM does not get through three instructions in ring 3")
        result: int = self._vcpu.registers.rbx
        return result & _LOW32

    def _link(self, table: int, index: int, frame: int) -> None:
        self._words[(table << PAGE_SHIFT >> 3) + index] = frame << PAGE_SHIFT | _ALL_RIGHTS


def measure_ring_3(device: KvmDevice) -> Ring3:
    """Find out; EngineError if ring 3 does not run. It takes some milliseconds."""
    with _guest(device) as guest:
        return Ring3(guest.sees_change(), guest.moves_rip(), guest.brand() == _BRAND)


def trap_seconds(device: KvmDevice) -> float:
    """How long a trap out of ring 3 and back takes, with nothing done meanwhile; EngineError."""
    with _guest(device) as guest:
        return min(guest.trap_seconds() for _ in range(_RUNS))


@contextmanager
def _guest(device: KvmDevice) -> Iterator[_Guest]:
    guest = _Guest(device)
    try:
        yield guest
    finally:
        guest.close()
