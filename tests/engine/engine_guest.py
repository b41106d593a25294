"""A vCPU or two on the real engine, in 64-bit mode, whose every trap and hypercall comes to the test.

Guest-physical memory is mapped onto itself, and once more from ALIAS on. All interrupts go through stubs that are
a hypercall, so that the test sees the frame on the guest's stack, and then return.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import assembler as asm

from xenolith.engine.choice import new_hvm_engine
from xenolith.engine.hvm import CpuState, GuestException, HvmEngine, Segment, Vector
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, Gfn, Mfn
from xenolith.machine.memory import MachineMemory

FRAMES = 2048
PAGE_TABLES = 0x1000
IDT = 0x5000
GDT = 0x6000
TSS = 0x7000
STUBS = 0x8000
PROLOGUE = 0x9000
CODE = 0x10000
"""Where the code of vCPU n starts: CODE + n * 0x4000."""
DATA = 0x20000
STACKS = 0x40000
USER_STACK = 0x48000
LOW_TABLES = 0x60000
"""Page tables of level 2 for the first 4 GiB: not every processor has larger pages."""
ALIAS = 1 << 39
HOLE = 0x1000_0000
"""A guest-physical address where there is nothing."""

CODE_BYTES = 0x4000
STUB_BYTES = 16
CODE_64, DATA_64, USER_CODE, USER_DATA, TASK = 0x08, 0x10, 0x2B, 0x23, 0x30
ERROR_CODES = {8, 10, 11, 12, 13, 14, 17, 21}


class Trap(NamedTuple):
    """What the CPU pushed, and when."""

    vector: int
    error_code: int | None
    rip: int
    cs: int
    rflags: int
    rsp: int


class Handler:
    """Plays the hypervisor for one vCPU; tests replace what they are about."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.exits: list[tuple[object, ...]] = []
        self.traps: list[Trap] = []
        self.calls: list[int] = []
        self.vectors: list[int] = []
        self.vectors_stay = False
        self.delivered: list[int] = []
        self.msrs: dict[int, int] = {}
        self.port_value = 0xFFFFFFFF
        self.on_call: Callable[[], None] = guest.engine.stop
        self.on_trap: Callable[[], None] = guest.engine.stop
        self.on_halt: Callable[[], None] = guest.engine.stop

    def hypercall(self) -> None:
        registers = self.guest.registers
        stub = registers.rip - 3 - STUBS
        if 0 <= stub < 256 * STUB_BYTES:
            self.traps.append(self.guest.trap(stub // STUB_BYTES))
            self.on_trap()
        else:
            self.calls.append(registers.rax)
            self.on_call()

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        self.exits.append(("cpuid", leaf, subleaf))
        return 0xA0A0A0A0, 0xB0B0B0B0, 0xC0C0C0C0, 0xD0D0D0D0

    def read_msr(self, msr: int) -> int:
        self.exits.append(("rdmsr", msr))
        if msr not in self.msrs:
            raise GuestException(Vector.GP)
        return self.msrs[msr]

    def write_msr(self, msr: int, value: int) -> None:
        self.exits.append(("wrmsr", msr, value))
        if msr not in self.msrs:
            raise GuestException(Vector.GP)
        self.msrs[msr] = value

    def read_port(self, port: int, size: int) -> int:
        self.exits.append(("in", port, size))
        return self.port_value

    def write_port(self, port: int, size: int, value: int) -> None:
        self.exits.append(("out", port, size, value))

    def halt(self) -> None:
        self.exits.append(("hlt",))
        self.on_halt()

    def pause(self) -> None:
        self.exits.append(("pause",))

    def triple_fault(self) -> None:
        self.exits.append(("triple fault",))
        self.guest.engine.stop()

    def pending_vector(self) -> int:
        return self.vectors[-1] if self.vectors else -1

    def vector_delivered(self, vector: int) -> None:
        self.delivered.append(vector)
        if not self.vectors_stay:
            self.vectors.remove(vector)


class Guest:
    def __init__(
        self,
        vcpus: int = 1,
        new_engine: Callable[[int], tuple[MachineMemory, HvmEngine]] = new_hvm_engine,
        new_handler: Callable[[Guest], Handler] = Handler,
    ) -> None:
        self.memory, self.engine = new_engine(FRAMES + 16)
        self.engine.map(Gfn(0), Mfn(0), FRAMES)
        self.handlers = [new_handler(self) for _ in range(vcpus)]
        self.vcpus = [self.engine.new_vcpu(handler) for handler in self.handlers]
        self.registers = self.vcpus[0].registers
        self._write_page_tables()
        self._write_descriptors()

    @property
    def handler(self) -> Handler:
        return self.handlers[0]

    def hide_something(self) -> None:
        """Give the engine a reason to look at every guest-physical address: a page that may only be read."""
        self.engine.map_readonly(Gfn(FRAMES), Mfn(FRAMES))

    def load(self, code: bytes, vcpu: int = 0, *, flags: int = 2) -> None:
        """Have a vCPU run code at its next run."""
        start = CODE + vcpu * CODE_BYTES
        self.memory.write(start, code)
        prologue = PROLOGUE + vcpu * 64
        self.memory.write(
            prologue,
            asm.lgdt(GDT + 0x800)
            + asm.lidt(GDT + 0x810)
            + asm.load_task_register(TASK + 16 * vcpu)
            + asm.far_jump_to(start),
        )
        # LTR marks the descriptor busy.
        self._write_task(vcpu)
        for address in (start, prologue):
            self.engine.invalidate_code(page_of(address), 1 + len(code) // PAGE_SIZE)
        self.vcpus[vcpu].reset(
            CpuState(
                rip=prologue,
                rsp=STACKS + (vcpu + 1) * PAGE_SIZE,
                rflags=flags,
                cr0=0x80010011,
                cr3=PAGE_TABLES,
                cr4=0x620,
                efer=0xD01,
                cs=Segment(CODE_64, 0xA9B),
                ds=Segment(DATA_64, 0xC93),
                es=Segment(DATA_64, 0xC93),
                ss=Segment(DATA_64, 0xC93),
            )
        )

    def run(self, code: bytes, *, flags: int = 2) -> Handler:
        """Run code on the first vCPU until it makes a hypercall, traps or halts."""
        self.load(code + self.engine.hypercall_instruction, flags=flags)
        self.go_on()
        return self.handler

    def go_on(self, vcpu: int = 0) -> None:
        """Run a vCPU until something of it stops the engine, however often that takes."""
        handler = self.handlers[vcpu]
        before = len(handler.calls) + len(handler.traps) + handler.exits.count(("hlt",))
        before += handler.exits.count(("triple fault",))
        for _ in range(1000):
            self.vcpus[vcpu].run()
            after = len(handler.calls) + len(handler.traps) + handler.exits.count(("hlt",))
            if after + handler.exits.count(("triple fault",)) > before:
                return
        raise AssertionError("the guest never comes to an end")

    def read64(self, address: int) -> int:
        return int.from_bytes(self.memory.read(address, 8), "little")

    def write64(self, address: int, value: int) -> None:
        self.memory.write(address, value.to_bytes(8, "little"))

    def trap(self, vector: int) -> Trap:
        """The frame at the top of the guest's stack."""
        at = self.registers.rsp
        error_code = None
        if vector in ERROR_CODES:
            error_code = self.read64(at)
            at += 8
        rip, cs, rflags, rsp = (self.read64(at + 8 * number) for number in range(4))
        return Trap(vector, error_code, rip, cs, rflags, rsp)

    def map_page(self, virtual: int, physical: int, flags: int = 7) -> None:
        """Put a page of 4096 bytes into the guest's own page tables, at an address of the last GiB below 512."""
        assert virtual >> 30 == 511
        table = PAGE_TABLES + 3 * PAGE_SIZE
        self.write64(table + 8 * (virtual >> 12 & 511), physical | flags)

    @contextmanager
    def running(self, vcpu: int = 0) -> Iterator[threading.Event]:
        """A thread runs the vCPU until the block has kicked it out."""
        ended = threading.Event()

        def run() -> None:
            self.vcpus[vcpu].run()
            ended.set()

        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(0.01)
        yield ended
        deadline = time.monotonic() + 5
        while not ended.wait(0.001):
            assert time.monotonic() < deadline, "the guest cannot be kicked out"
            self.engine.kick()
        thread.join()

    def close(self) -> None:
        self.engine.close()

    def _write_page_tables(self) -> None:
        """Everything below 4 GiB at 0 and at ALIAS; a table of small pages for map_page()."""
        level4, level3, level2, level1 = (PAGE_TABLES + PAGE_SIZE * n for n in range(4))
        self.write64(level4, level3 | 7)
        self.write64(level4 + 8 * (ALIAS >> 39), level3 | 7)
        for number in range(4):
            low_table = LOW_TABLES + number * PAGE_SIZE
            self.write64(level3 + 8 * number, low_table | 7)
            entries = (number << 30 | index << 21 | 0x87 for index in range(512))
            self.memory.write(low_table, array("Q", entries).tobytes())
        self.write64(level3 + 8 * 511, level2 | 7)
        self.write64(level2, level1 | 7)

    def _write_descriptors(self) -> None:
        for selector, descriptor in (
            (CODE_64, 0x00AF9B000000FFFF),
            (DATA_64, 0x00CF93000000FFFF),
            (0x18, 0x00CFFB000000FFFF),
            (USER_DATA & -8, 0x00CFF3000000FFFF),
            (USER_CODE & -8, 0x00AFFB000000FFFF),
        ):
            self.write64(GDT + selector, descriptor)
        for vector in range(256):
            stub = STUBS + vector * STUB_BYTES
            drop_error_code = b"\x48\x83\xc4\x08" if vector in ERROR_CODES else b""
            call = self.engine.hypercall_instruction
            self.memory.write(stub, call + drop_error_code + asm.IRETQ)
            low = stub & 0xFFFF | CODE_64 << 16 | 0xEE00 << 32 | (stub >> 16 & 0xFFFF) << 48
            self.write64(IDT + 16 * vector, low)
        # The image of GDTR behind the table, that of IDTR behind that.
        self.memory.write(GDT + 0x800, (0x7FF).to_bytes(2, "little") + GDT.to_bytes(8, "little"))
        self.memory.write(GDT + 0x810, (0xFFF).to_bytes(2, "little") + IDT.to_bytes(8, "little"))

    def _write_task(self, vcpu: int) -> None:
        """A task state segment with a stack for traps out of user mode and an empty port bitmap."""
        base = TSS + vcpu * 0x100
        self.memory.write(base, bytes(0x68))
        self.write64(base + 4, STACKS + (vcpu + 1) * PAGE_SIZE)
        self.memory.write(base + 0x66, (0x68).to_bytes(2, "little"))
        self.memory.write(base + 0x68, b"\xff" * 64)
        descriptor = 0x67 + 64 | base << 16 | 0x89 << 40
        self.write64(GDT + TASK + 16 * vcpu, descriptor)
        self.write64(GDT + TASK + 16 * vcpu + 8, 0)


def page_of(address: int) -> Gfn:
    return Gfn(address >> PAGE_SHIFT)
