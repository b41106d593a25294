"""A PV vCPU on the real engine: a page of kernel, a page of program, and a test that plays the hypervisor.

Kernel and program have page tables of their own, as Linux gives them. Traps go to stubs, one a vector, that are a
hypercall each, so the test sees the frame that the engine has put on the kernel's stack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import assembler as asm

from xenolith.builder.pv_page_tables import PvPageTables
from xenolith.engine.choice import EngineName, new_pv_engine
from xenolith.engine.pv import PvCpuState, TrapGate
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, GuestVirt, Mfn

FRAMES = 64
KERNEL_BASE = 0xFFFF_8880_0000_0000
"""Where the kernel sees all of its frames."""
USER_BASE = 0x40_0000
"""Where the program sees the frames from USER_FRAME on; so does the kernel."""

KERNEL_ROOT, USER_ROOT = 1, 10
CODE_FRAME, STUB_FRAME, STACK_FRAME, INFO_FRAME, GDT_FRAME = 20, 21, 24, 26, 27
USER_FRAME, USER_FRAMES = 32, 8

CODE = KERNEL_BASE + CODE_FRAME * PAGE_SIZE
STUBS = KERNEL_BASE + STUB_FRAME * PAGE_SIZE
STACK = KERNEL_BASE + (STACK_FRAME + 1) * PAGE_SIZE
"""Where the kernel's code starts with its stack."""
TRAP_STACK = STACK - 0x400
"""Where traps out of the program put their frames."""
USER_CODE = USER_BASE
USER_STACK = USER_BASE + 4 * PAGE_SIZE
USER_DATA = USER_BASE + 5 * PAGE_SIZE

FLAT_CS32, FLAT_SS, FLAT_CS64 = 0xE023, 0xE02B, 0xE033
PENDING, MASK, CR2 = 0, 1, 16
STUB_BYTES = 8
EVENT, SYSCALL_ENTRY, SYSCALL32_ENTRY = 256, 257, 258
"""Numbers of the stubs that are callbacks."""
IRET, CALL = 23, 99
ERROR_CODES = {8, 10, 11, 12, 13, 14, 17, 21}
ADDRESS_LIMIT = 1 << 64
BRAND_LEAF = 0x8000_0002
"""The one leaf of CPUID that is not the processor's own."""


class Frame(NamedTuple):
    """What a trap leaves on the kernel's stack."""

    stub: int
    rcx: int
    r11: int
    error_code: int | None
    rip: int
    cs: int
    saved_mask: int
    rflags: int
    rsp: int
    ss: int
    at: int
    """Where the frame itself is."""


class PvGuest:
    """Implements the engine's TrapHandler; tests replace what they are about."""

    def __init__(self, engine: EngineName = EngineName.UNICORN) -> None:
        self.memory, self.engine = new_pv_engine(FRAMES, engine)
        self.calls: list[int] = []
        self.frames: list[Frame] = []
        self.crashes: list[str] = []
        self.faults: list[tuple[object, ...]] = []
        self.on_call: Callable[[], None] = self.engine.stop
        self.on_frame: Callable[[], None] = self.engine.stop
        self.emulates = False
        self.pauses = 0
        self._build_page_tables()
        for number in range(512):
            # mov r15d, number; syscall with a hypercall's number in it
            self.write(
                STUBS + number * STUB_BYTES,
                b"\x41\xbf" + number.to_bytes(4, "little") + asm.SYSCALL,
            )
        self.vcpu = self.engine.new_vcpu(self)
        self.vcpu.use_info(INFO_FRAME << PAGE_SHIFT)
        self.info = self.memory.frame(Mfn(INFO_FRAME))
        self.info[MASK] = 1
        self.registers = self.vcpu.registers

    def hypercall(self) -> None:
        stub = self.registers.rip - STUB_BYTES - STUBS
        if 0 <= stub < 512 * STUB_BYTES:
            self.frames.append(self._frame(stub // STUB_BYTES))
            self.on_frame()
        else:
            self.calls.append(self.registers.rax)
            self.on_call()

    def general_protection(self, error_code: int) -> bool:
        self.faults.append(("gp", error_code))
        return self._skip(13)

    def empty_descriptor(self, _selector: int) -> bool:
        return False

    def invalid_opcode(self) -> bool:
        self.faults.append(("ud",))
        return self._skip(6)

    def write_protected(self, address: GuestVirt) -> bool:
        self.faults.append(("wp", address))
        return self._skip(14)

    def pause(self) -> None:
        self.pauses += 1

    def _skip(self, _vector: int) -> bool:
        """Pretend to have done an instruction of two bytes, if the test wants that."""
        if self.emulates:
            self.registers.rip += 2
        return self.emulates

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        if leaf == BRAND_LEAF:
            return leaf + 1, subleaf + 2, 3, 4
        return self.engine.base_cpuid(leaf, subleaf)

    def crash(self, why: str) -> None:
        self.crashes.append(why)

    def start(self, code: bytes = b"", program: bytes = b"", **state: object) -> None:
        """Have the vCPU run kernel code from CODE on, and a program lie ready at USER_CODE."""
        self.write(CODE, code)
        self.write(KERNEL_BASE + USER_FRAME * PAGE_SIZE, program)
        self.engine.invalidate_code(Mfn(CODE_FRAME), 1)
        self.engine.invalidate_code(Mfn(USER_FRAME), 1)
        values: dict[str, object] = {
            "rip": CODE,
            "rsp": STACK,
            "cs": FLAT_CS64,
            "ss": FLAT_SS,
            "kernel_root": Mfn(KERNEL_ROOT),
            "user_root": Mfn(USER_ROOT),
            "kernel_stack": TRAP_STACK,
            "traps": {vector: self.gate(vector) for vector in range(256)},
            "callbacks": {
                0: self.gate(EVENT, masks_events=True),
                2: self.gate(SYSCALL_ENTRY),
                7: self.gate(SYSCALL32_ENTRY),
            },
            "gdt": [Mfn(GDT_FRAME)],
            **state,
        }
        self.vcpu.reset(PvCpuState(**values))  # type: ignore[arg-type]

    @staticmethod
    def gate(stub: int, *, dpl: int = 0, masks_events: bool = False) -> TrapGate:
        return TrapGate(GuestVirt(STUBS + stub * STUB_BYTES), 0, dpl, masks_events)

    def run(self, code: bytes = b"", program: bytes = b"", **state: object) -> None:
        """Run kernel code until it makes a hypercall or traps."""
        self.start(code, program, **state)
        self.go_on()

    def go_on(self) -> None:
        """Run until the kernel has made another hypercall, trapped or crashed, however often that takes."""
        before = len(self.calls) + len(self.frames) + len(self.crashes)
        for _ in range(1000):
            self.vcpu.run()
            if len(self.calls) + len(self.frames) + len(self.crashes) > before:
                return
        raise AssertionError("the guest never comes to an end")

    def run_program(self, program: bytes, **state: object) -> Frame:
        """Run a program until it is back in the kernel."""
        self.start(
            b"", program, **{"rip": USER_CODE, "rsp": USER_STACK, "in_kernel": False, **state}
        )
        self.go_on()
        return self.frame

    @property
    def frame(self) -> Frame:
        """The last trap's."""
        assert self.frames, (self.crashes, hex(self.registers.rip))
        return self.frames[-1]

    def iret_frame(self, rip: int, cs: int, **values: int) -> bytes:
        """What the iret hypercall finds at RSP."""
        fields = {
            "rax": 0, "r11": 0, "rcx": 0, "flags": 0, "rip": rip, "cs": cs,
            "rflags": 0x202, "rsp": USER_STACK, "ss": FLAT_SS, **values,
        }  # fmt: skip
        return b"".join(value.to_bytes(8, "little") for value in fields.values())

    def iret(self, frame: bytes, program: bytes = b"", code: bytes = b"", **state: object) -> None:
        """Have the kernel make the iret hypercall, and run on until the next trap."""
        self.write(STACK - len(frame), frame)
        self.run(
            code + asm.mov("rax", IRET) + asm.SYSCALL,
            program,
            **{"rsp": STACK - len(frame), **state},
        )

    def write(self, address: int, data: bytes) -> None:
        """Store bytes at an address of the kernel's."""
        self.memory.write(address - KERNEL_BASE, data)

    def write64(self, address: int, value: int) -> None:
        self.write(address, (value % ADDRESS_LIMIT).to_bytes(8, "little"))

    def read64(self, address: int) -> int:
        return int.from_bytes(self.memory.read(address - KERNEL_BASE, 8), "little")

    def entry(self, root: int, address: int) -> int:
        """The machine address of the entry of level 1 that maps an address."""
        table = root << PAGE_SHIFT
        for shift in (39, 30, 21):
            entry = int.from_bytes(
                self.memory.read(table + 8 * (address >> shift & 511), 8), "little"
            )
            table = entry & 0x000F_FFFF_FFFF_F000
        return table + 8 * (address >> 12 & 511)

    def change_entry(self, root: int, address: int, clear: int) -> None:
        """Take bits from the entry that maps an address."""
        at = self.entry(root, address)
        value = int.from_bytes(self.memory.read(at, 8), "little")
        self.memory.write(at, (value & ~clear).to_bytes(8, "little"))
        self.engine.flush_tlb()

    def close(self) -> None:
        self.engine.close()

    def _frame(self, stub: int) -> Frame:
        at = self.registers.rsp
        words = [self.read64(at + 8 * number) for number in range(8)]
        error_code = words.pop(2) if stub in ERROR_CODES else None
        rcx, r11, rip, cs, rflags, rsp, ss = words[:7]
        return Frame(stub, rcx, r11, error_code, rip, cs & 0xFFFF, cs >> 32, rflags, rsp, ss, at)

    def _build_page_tables(self) -> None:
        def store(pfn: int, data: bytes) -> None:
            self.memory.write(pfn << PAGE_SHIFT, data)

        tables = PvPageTables(0, store)
        user = tables.build(USER_BASE, USER_FRAME, USER_FRAMES, KERNEL_ROOT + 5, range(0))
        kernel = tables.build(KERNEL_BASE, 0, FRAMES, KERNEL_ROOT + 1, range(0))
        tables.build_top(KERNEL_ROOT, kernel + user)
        tables.build_top(USER_ROOT, user)
        # As the hypervisor has it: whatever is mapped is mapped for ring 3.
        for pfn in range(FRAMES):
            at = self.entry(KERNEL_ROOT, KERNEL_BASE + pfn * PAGE_SIZE)
            self.memory.write(at, (pfn << PAGE_SHIFT | 0x67).to_bytes(8, "little"))
        for pfn in range(USER_FRAME, USER_FRAME + USER_FRAMES):
            at = self.entry(USER_ROOT, USER_BASE + (pfn - USER_FRAME) * PAGE_SIZE)
            self.memory.write(at, (pfn << PAGE_SHIFT | 0x67).to_bytes(8, "little"))
        for root in (KERNEL_ROOT, USER_ROOT):
            self.engine.fill_reserved_slots(Mfn(root))
        descriptors = [0, 0, 0x00AFFB000000FFFF, 0x00CFF3000000FFFF, 0x00CFFB000000FFFF]
        for index, descriptor in enumerate(descriptors):
            self.memory.write(
                (GDT_FRAME << PAGE_SHIFT) + 8 * index, descriptor.to_bytes(8, "little")
            )
