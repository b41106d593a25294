"""The seam between the hypervisor and whatever runs guest instructions, for HVM vCPUs.

An engine runs one vCPU at a time per thread and calls its :class:`ExitHandler` in place for every exit;
nothing above this package knows which engine it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

from xenolith.engine.vcpu import Engine, EngineVcpu
from xenolith.machine.address import Gfn, GuestPhys, Mfn


class EngineError(Exception):
    """The engine cannot be used, or cannot go on with this guest; the text says why."""


class Vector(IntEnum):
    """Exception vectors that the hypervisor raises in a guest (Intel SDM volume 3, table 6-1)."""

    DE = 0
    UD = 6
    NP = 11
    GP = 13
    PF = 14


class GuestException(Exception):  # noqa: N818 - it is not an error of ours
    """Raised by an exit handler to make the exiting instruction fault in the guest."""

    def __init__(self, vector: Vector, error_code: int = 0) -> None:
        super().__init__(vector.name)
        self.vector = vector
        self.error_code = error_code


class Segment(NamedTuple):
    """A segment register with its hidden part; ``attributes`` in VMCB format (AMD APM volume 2)."""

    selector: int = 0
    attributes: int = 0
    limit: int = 0xFFFFFFFF
    base: int = 0


FLAT_CODE_32 = Segment(attributes=0xC9B)
FLAT_DATA_32 = Segment(attributes=0xC93)
TASK_32 = Segment(attributes=0x8B, limit=0x67)


@dataclass
class CpuState:
    """The registers a vCPU starts with; the default is a PVH entry (public/arch-x86/hvm/start_info.h)."""

    rip: int = 0
    rsp: int = 0
    rflags: int = 2
    cr0: int = 0x11
    cr3: int = 0
    cr4: int = 0
    efer: int = 0
    cs: Segment = FLAT_CODE_32
    ds: Segment = FLAT_DATA_32
    es: Segment = FLAT_DATA_32
    ss: Segment = FLAT_DATA_32
    tr: Segment = TASK_32
    general: dict[str, int] = field(default_factory=dict)
    """Other general registers by name (``{"rbx": ...}``); those not named are 0."""


class ExitHandler(Protocol):
    """One vCPU as the engine sees it: what to do for each exit, and which interrupt to offer."""

    def hypercall(self) -> None:
        """The engine's hypercall instruction, RIP behind it: read and write the registers of the vCPU."""

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """Return EAX, EBX, ECX and EDX."""

    def read_msr(self, msr: int) -> int:
        """Return the MSR's value or raise GuestException."""

    def write_msr(self, msr: int, value: int) -> None:
        """Write the MSR or raise GuestException."""

    def read_port(self, port: int, size: int) -> int:
        """Read ``size`` bytes (1, 2 or 4) of an I/O port."""

    def write_port(self, port: int, size: int, value: int) -> None:
        """Write ``size`` bytes (1, 2 or 4) to an I/O port."""

    def halt(self) -> None:
        """HLT; RIP is already behind it."""

    def pause(self) -> None:
        """PAUSE; RIP is already behind it. Only asked for after :meth:`HvmEngine.intercept_pause`."""

    def triple_fault(self) -> None:
        """The guest's CPU has shut down."""

    def pending_vector(self) -> int:
        """The vector of the interrupt to offer to the guest now, or -1."""

    def vector_delivered(self, vector: int) -> None:
        """The guest has taken the interrupt that was offered."""


class MmioHandler(Protocol):
    """A page of device registers."""

    def read(self, offset: int, size: int) -> int:
        """Return ``size`` bytes at ``offset``."""

    def write(self, offset: int, size: int, value: int) -> None:
        """Store ``size`` bytes at ``offset``."""


class Registers(Protocol):
    """The live registers of the vCPU that the engine is running or has loaded last."""

    rax: int
    rbx: int
    rcx: int
    rdx: int
    rsi: int
    rdi: int
    rsp: int
    r8: int
    r10: int
    rip: int

    @property
    def cr0(self) -> int:
        """Control register 0."""

    @property
    def cr3(self) -> int:
        """Control register 3."""

    @property
    def cr4(self) -> int:
        """Control register 4."""

    @property
    def efer(self) -> int:
        """The extended feature enable register."""

    @property
    def rflags(self) -> int:
        """The flags register, arithmetic flags computed."""

    @property
    def cpl(self) -> int:
        """The current privilege level, 0 to 3."""

    @property
    def interrupts_enabled(self) -> bool:
        """RFLAGS.IF."""

    @property
    def long_mode(self) -> bool:
        """Whether a 64-bit code segment is running."""


class HvmVcpu(EngineVcpu, Protocol):
    """A vCPU's share of the engine."""

    faults_cpuid: bool | None
    """Whether CPUID outside of ring 0 is #GP; None where the engine cannot have that."""

    @property
    def registers(self) -> Registers:
        """The live registers; this vCPU's while it is the one that runs or ran last."""

    def reset(self, state: CpuState) -> None:
        """Start over with these registers at the next run."""

    def inject_nmi(self) -> None:
        """Deliver an NMI as soon as the guest can take one."""


class HvmEngine(Engine, Protocol):
    """A domain's engine: its vCPUs and its guest-physical address space."""

    hypercall_instruction: bytes
    """What a guest makes a hypercall by, for the stubs in its hypercall page: three bytes."""

    def new_vcpu(self, handler: ExitHandler) -> HvmVcpu:
        """A vCPU that must be :meth:`HvmVcpu.reset` before it runs."""

    def map(self, gfn: Gfn, mfn: Mfn, count: int = 1) -> None:
        """Make ``count`` guest frames from ``gfn`` on stand for machine frames from ``mfn`` on."""

    def map_readonly(self, gfn: Gfn, mfn: Mfn) -> None:
        """As :meth:`map` for one frame; a store to it raises #GP in the guest."""

    def unmap(self, gfn: Gfn, count: int = 1) -> None:
        """Leave ``count`` guest frames empty: reads give all ones, writes are dropped."""

    def map_mmio(self, address: GuestPhys, handler: MmioHandler) -> None:
        """Put a page of device registers at a guest-physical address."""

    def intercept_pause(self) -> None:
        """Ask for PAUSE exits from now on."""

    def invalidate_code(self, gfn: Gfn, count: int) -> None:
        """Frames were written from outside the guest: forget code translated from them."""
