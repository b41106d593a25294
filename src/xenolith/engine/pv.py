"""The seam between the hypervisor and whatever runs guest instructions, for PV vCPUs.

A PV guest's kernel and programs both run in ring 3, on page tables that hold machine frames. What both engines do
alike, bouncing traps to the guest's kernel, is theirs because it is hot; what a trap means that is not the guest's
own is asked of the :class:`TrapHandler`. The ABI is Xen's for x86-64 PV guests (public/arch-x86/xen-x86_64.h).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from xenolith.engine.table_changes import TableChanges
from xenolith.engine.vcpu import Engine, EngineVcpu
from xenolith.machine.address import GuestVirt, Mfn


class TrapGate(NamedTuple):
    """Where a trap or callback enters the guest's kernel."""

    address: GuestVirt
    selector: int = 0
    dpl: int = 0
    """The lowest privilege that may raise a trap by INT n: 3 lets programs do it."""
    masks_events: bool = False


class NativeCalls(NamedTuple):
    """Addresses of native code of the hypervisor's that gets traps first: see native_calls.h."""

    self: int
    hypercall: int
    store: int
    """For stores of the kernel's to pages that it can only read."""


@dataclass
class PvCpuState:
    """The registers a vCPU starts with; selectors name segments of its GDT or Xen's flat ones."""

    rip: GuestVirt
    rsp: GuestVirt
    cs: int
    ss: int
    kernel_root: Mfn
    """The page table of level 4 that its kernel runs on, validated."""
    user_root: Mfn | None = None
    in_kernel: bool = True
    rflags: int = 0x200
    ds: int = 0
    es: int = 0
    fs: int = 0
    gs: int = 0
    fs_base: int = 0
    gs_base_kernel: int = 0
    gs_base_user: int = 0
    kernel_stack: int = 0
    """Where a trap out of user mode puts its frame."""
    general: Mapping[str, int] = field(default_factory=dict)
    """Other general registers by name (``{"rsi": ...}``); those not named are 0."""
    traps: Mapping[int, TrapGate] = field(default_factory=dict)
    """Gates by vector."""
    callbacks: Mapping[int, TrapGate] = field(default_factory=dict)
    """Gates by CallbackType."""
    gdt: Sequence[Mfn] = ()
    """The frames of its descriptor table, to be mapped read-only by the engine."""
    ldt_address: GuestVirt = GuestVirt(0)  # noqa: RUF009 - it is an integer
    ldt_entries: int = 0
    """Its local descriptor table, which the hypervisor sets once the vCPU has been reset."""


class TrapHandler(Protocol):
    """One vCPU as the engine sees it: what to do where a trap is the hypervisor's business.

    A method that returns a bool says whether the instruction is done with, RIP behind it; if not, the trap is the
    guest kernel's.
    """

    def hypercall(self) -> None:
        """SYSCALL out of the kernel, except iret; RIP is already behind it."""

    def general_protection(self, error_code: int) -> bool:
        """#GP in the kernel or a program: a privileged instruction, perhaps."""

    def empty_descriptor(self, selector: int) -> bool:
        """A selector names an entry of the LDT that shows nothing: whether something is there now."""

    def invalid_opcode(self) -> bool:
        """#UD in the kernel or a program: forced emulation, perhaps."""

    def write_protected(self, address: GuestVirt) -> bool:
        """The kernel has written to a page that is present and read-only: a page table, perhaps."""

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """Return EAX, EBX, ECX and EDX, where the engine can intercept the instruction."""

    def pause(self) -> None:
        """PAUSE, where the engine can tell; RIP is already behind it. Only asked for with several vCPUs."""

    def crash(self, why: str) -> None:
        """The guest cannot go on: its kernel has nowhere to take a trap."""


class PvRegisters(Protocol):
    """The live registers of the vCPU that the engine is running or has loaded last."""

    rax: int
    rbx: int
    rcx: int
    rdx: int
    rsi: int
    rdi: int
    rsp: int
    rbp: int
    r8: int
    r10: int
    rip: int

    @property
    def cr0(self) -> int:
        """Control register 0."""

    @property
    def cr3(self) -> int:
        """The machine address of the page table in use, of kernel or user mode."""

    @property
    def rflags(self) -> int:
        """The flags register, arithmetic flags computed."""

    @property
    def long_mode(self) -> bool:
        """Whether a 64-bit code segment is running."""

    def segment_base(self, number: int) -> int:
        """The base of a segment register by its number in instructions: ES CS SS DS FS GS."""

    def general(self, number: int) -> int:
        """A general register by its number in instructions: RAX RCX RDX RBX RSP RBP RSI RDI R8..."""

    def set_general(self, number: int, value: int) -> None:
        """Write all 64 bits of a general register."""


class PvVcpu(EngineVcpu, Protocol):
    """A vCPU's share of the engine."""

    @property
    def registers(self) -> PvRegisters:
        """The live registers; this vCPU's while it is the one that runs or ran last."""

    fs_base: int
    gs_base_kernel: int
    gs_base_user: int
    """Segment bases; from the handler of a trap only."""
    faults_cpuid: bool | None
    """Whether CPUID in programs is #GP; None where the engine cannot have that."""

    @property
    def in_kernel(self) -> bool:
        """Whether the guest's kernel is running, and not a program; from the handler of a trap only."""

    def reset(self, state: PvCpuState) -> None:
        """Start over with these registers at the next run."""

    def inject(self, vector: int, error_code: int = 0) -> None:
        """From the handler of a trap: deliver an exception at RIP to the guest's kernel."""

    def use_info(self, address: int) -> None:
        """Its vcpu_info is at this machine byte address from now on."""

    def set_trap(self, vector: int, gate: TrapGate) -> None:
        """Where a vector goes; an address of 0 means nowhere."""

    def has_trap(self, vector: int) -> bool:
        """Whether a vector goes anywhere."""

    def clear_traps(self) -> None:
        """Send every vector nowhere."""

    def set_callback(self, kind: int, gate: TrapGate) -> None:
        """Where a CallbackType goes; an address of 0 means nowhere."""

    def set_kernel_stack(self, address: GuestVirt) -> None:
        """Where the next trap out of user mode puts its frame."""

    @property
    def roots(self) -> tuple[Mfn, Mfn | None]:
        """The page tables of level 4 of kernel mode and of user mode."""

    def set_roots(self, kernel: Mfn, user: Mfn | None) -> None:
        """The page tables of level 4 of the two modes; the TLB is flushed before the guest goes on."""

    def set_gdt(self, frames: Sequence[Mfn]) -> None:
        """The frames of its descriptor table: entries from 0 on."""

    def set_ldt(self, frames: Sequence[Mfn | None], entries: int) -> None:
        """The frames of its local descriptor table; None where there is none to read."""

    def show_ldt(self, frames: Sequence[Mfn | None]) -> None:
        """Other frames of the same local descriptor table."""

    def load_user_gs(self, selector: int) -> None:
        """Load the GS of user mode; a null selector where it names no segment."""

    def set_rflags(self, value: int) -> None:
        """From the handler of a trap: write the arithmetic flags."""

    def set_task_switched(self, on: bool) -> None:
        """CR0.TS: whether the next FPU instruction raises #NM."""

    def set_breakpoints(self, addresses: Sequence[int], control: int) -> None:
        """DR0 to DR3, and DR7, which says which of them raise #DB; what an engine lacks of it never does."""

    debug_status: int
    """DR6: why #DB was raised last; from the handler of a trap only."""


class PvEngine(Engine, Protocol):
    """A domain's engine: its vCPUs, and what of the address space is Xen's."""

    m2p: memoryview
    """The machine-to-physical table (format ``Q``), by machine frame, as guests can read it."""
    m2p_start: GuestVirt
    m2p_end: GuestVirt
    changes: TableChanges | None
    """Where it wants changes of page tables noted, at the latest before it is told to flush the TLB."""
    xcr0: int
    """What of XCR0 programs have: their kernel is to save it. 0 where there is no XSAVE."""

    def counts(self) -> Mapping[str, int]:
        """How often it has done what is dear to it, by name."""

    def new_vcpu(self, handler: TrapHandler) -> PvVcpu:
        """A vCPU that must be :meth:`PvVcpu.reset` before it runs."""

    def fill_reserved_slots(self, level4: Mfn) -> None:
        """Write Xen's entries, 256 to 271, into a page table of level 4."""

    def flush_tlb(self) -> None:
        """Page tables have changed: forget translations before any guest code runs on."""

    def invalidate_page(self, address: GuestVirt) -> None:
        """As :meth:`flush_tlb` for one page."""

    def call_natively(self, calls: NativeCalls | None) -> None:
        """Ask native code first, from now on, or ask no such code; what it has to do with must be kept alive."""

    def invalidate_code(self, mfn: Mfn, count: int) -> None:
        """Frames were written from outside the guest: forget code translated from them."""
