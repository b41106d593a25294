"""A PV domain of a few frames on the real engine, whose hypercalls the test makes in its first vCPU's place."""

from __future__ import annotations

from xenolith.abi.sched import ShutdownReason
from xenolith.abi.xen import Hypercall
from xenolith.builder.pv_page_tables import PvPageTables
from xenolith.engine.choice import new_pv_engine
from xenolith.engine.pv import PvCpuState
from xenolith.hypervisor.domain import DomainParameters
from xenolith.hypervisor.guest_access import Continuation
from xenolith.hypervisor.hypercalls.dispatch import call
from xenolith.hypervisor.pv.domain import PvDomain
from xenolith.hypervisor.pv.page_type import COUNT, TYPE_SHIFT, PageType
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, Gfn, GuestVirt, Mfn

FRAMES = 64
BASE = 0xFFFF_8880_0000_0000
"""Where the guest sees all of its frames."""
ROOT, GDT, SPARE, DATA = 1, 8, 16, 32
"""Frames as the guest counts them; from SPARE on they are nothing yet, and not mapped up to DATA."""
P, RW = 1, 2
ADDRESS = 0x000F_FFFF_FFFF_F000


class Events:
    """What the domain told its process."""

    def __init__(self) -> None:
        self.reasons: list[ShutdownReason] = []
        self.lines: list[str] = []
        self.output = b""

    def shut_down(self, reason: ShutdownReason) -> None:
        self.reasons.append(reason)

    def debug_output(self, data: bytes) -> None:
        self.output += data

    def log(self, message: str) -> None:
        self.lines.append(message)


class SmallPvDomain:
    def __init__(self, vcpus: int = 2, withheld: int = 0) -> None:
        self.events = Events()
        parameters = DomainParameters(7, ((Gfn(0), FRAMES),), vcpus)
        self.domain = PvDomain(parameters, new_pv_engine, self.events)
        self.memory = self.domain.memory
        self.first = self.memory.first_ram
        self.words = self.memory.machine.view.cast("Q")
        tables = PvPageTables(self.first, self._store)
        hidden = range(SPARE, DATA)
        self.memory.withhold(withheld)
        top = tables.build(BASE, 0, FRAMES - withheld, ROOT + 1, range(ROOT, GDT + 1))
        tables.build_top(ROOT, top)
        for pfn in hidden:
            self.words[self.entry_address(pfn) >> 3] = 0
        self.vcpu = self.domain.vcpus[0]
        self.vcpu.start_with(
            PvCpuState(
                rip=GuestVirt(BASE),
                rsp=GuestVirt(BASE),
                cs=0xE033,
                ss=0xE02B,
                kernel_root=self.mfn(ROOT),
                gdt=[self.mfn(GDT)],
            )
        )
        self.use_root()

    def use_root(self) -> None:
        """Have hypercalls look at memory as the vCPU would."""
        self.vcpu.registers.cr3 = self.vcpu.engine_vcpu.roots[0] << PAGE_SHIFT  # type: ignore[misc]

    def _store(self, pfn: int, data: bytes) -> None:
        self.memory.machine.write(self.mfn(pfn) << PAGE_SHIFT, data)

    def mfn(self, pfn: int) -> Mfn:
        return Mfn(self.first + pfn)

    def address(self, pfn: int) -> GuestVirt:
        return GuestVirt(BASE + pfn * PAGE_SIZE)

    def entry_address(self, pfn: int) -> int:
        """The machine address of the entry that maps a frame; the table of level 1 is the last that was built."""
        return (self.mfn(ROOT + 3) << PAGE_SHIFT) + 8 * pfn

    def entry(self, pfn: int) -> int:
        return self.words[self.entry_address(pfn) >> 3]

    def write(self, pfn: int, data: bytes, offset: int = 0) -> GuestVirt:
        self.memory.machine.write((self.mfn(pfn) << PAGE_SHIFT) + offset, data)
        return GuestVirt(self.address(pfn) + offset)

    def read(self, pfn: int, size: int, offset: int = 0) -> bytes:
        return self.memory.machine.read((self.mfn(pfn) << PAGE_SHIFT) + offset, size)

    def hypercall(self, number: int, *arguments: int) -> int:
        """Make one, and make it again as long as it asks for that."""
        padded = (*arguments, 0, 0, 0, 0, 0)[:5]
        for _ in range(1000):
            try:
                return call(self.vcpu, Hypercall(number).value, padded)
            except Continuation as rest:
                padded = (*rest.arguments, *padded[len(rest.arguments) :])
        raise AssertionError("the hypercall never ends")

    def check(self) -> None:
        """No frame that is in use as a table can be written through any table of level 1."""
        info = self.domain.types.info
        kinds = {
            mfn: PageType(word >> TYPE_SHIFT)
            for mfn, word in enumerate(info.tolist())
            if word & COUNT
        }
        for mfn, kind in kinds.items():
            if kind is not PageType.L1:
                continue
            start = mfn << PAGE_SHIFT >> 3
            for entry in self.words[start : start + 512].tolist():
                target = (entry & ADDRESS) >> PAGE_SHIFT
                if entry & P and entry & RW:
                    assert kinds.get(target) is PageType.WRITABLE, (mfn, target)

    def close(self) -> None:
        self.domain.engine.close()
