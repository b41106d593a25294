"""One PV vCPU: its page tables and descriptor tables, and what the traps mean that are not its kernel's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from xenolith.abi.errno import XenError
from xenolith.abi.features import Feature
from xenolith.abi.xen import VCPU_INFO, VmAssistType
from xenolith.engine.hvm import Vector
from xenolith.engine.pv import PvCpuState, PvRegisters
from xenolith.engine.pv import PvVcpu as EnginePvVcpu
from xenolith.hypervisor.hypercalls.dispatch import dispatch
from xenolith.hypervisor.pv import privileged
from xenolith.hypervisor.pv.cpu_policy import PvCpuPolicy
from xenolith.hypervisor.pv.debug_registers import DebugRegisters
from xenolith.hypervisor.pv.hypercall_table import PV_HANDLERS
from xenolith.hypervisor.pv.instruction import fetch
from xenolith.hypervisor.pv.local_descriptors import LocalDescriptors
from xenolith.hypervisor.pv.msr_policy import PvMsrPolicy
from xenolith.hypervisor.pv.page_type import PageType
from xenolith.hypervisor.pv.paging import PvPaging, may_be_mapped
from xenolith.hypervisor.pv.port_access import PortAccess
from xenolith.hypervisor.pv.vcpu_context import read_vcpu_context
from xenolith.hypervisor.pv.writable_page_table import emulate_store
from xenolith.hypervisor.vcpu import Vcpu
from xenolith.machine.address import PAGE_SHIFT, Gfn, GuestVirt, Mfn

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.domain import PvDomain

_UPCALL_PENDING = VCPU_INFO.offsets["evtchn_upcall_pending"]
_UPCALL_MASK = VCPU_INFO.offsets["evtchn_upcall_mask"]
_CR2 = VCPU_INFO.offsets["arch"]

_RFLAGS_IOPL_SHIFT = 12
_RFLAGS_ITS_OWN, _RFLAGS_IF = 0x244DD7, 0x200
"""What a guest sets with POPF; the rest is Xen's, as in arch_set_info_guest()."""
_CR0_TS = 8
_PF_USER = 4
_CR4 = 0x620
"""PAE, OSFXSR and OSXMMEXCPT."""
_CR4_DE, _CR4_OSXSAVE = 1 << 3, 1 << 18
_GP_TABLE, _GP_LDT = 7, 4
"""Of the error code of #GP: which table the bad selector is of, and that this is the LDT."""
_FORCED_EMULATION = b"\x0f\x0bxen"
_FORCED_CPUID = _FORCED_EMULATION + b"\x0f\xa2"
_MASK64 = (1 << 64) - 1
_LOW32 = (1 << 32) - 1

_FEATURES = sum(
    1 << feature
    for feature in (
        Feature.mmu_pt_update_preserve_ad,
        Feature.highmem_assist,
        Feature.gnttab_map_avail_bits,
        Feature.memory_op_vnode_supported,
    )
)


class PvVcpu(Vcpu):
    """Implements the engine's TrapHandler."""

    domain: PvDomain
    engine_vcpu: EnginePvVcpu
    registers: PvRegisters
    paging: PvPaging
    handlers = PV_HANDLERS
    features = _FEATURES
    assists = frozenset(
        assist.value
        for assist in VmAssistType
        if assist not in (VmAssistType.architectural_iopl, VmAssistType.m2p_strict)
    )

    def __init__(self, domain: PvDomain, vcpu_id: int, info: memoryview | None) -> None:
        self.domain = domain
        super().__init__(domain, vcpu_id, info)
        self.engine_vcpu = domain.engine.new_vcpu(self)
        self.registers = self.engine_vcpu.registers
        self.paging = PvPaging(domain.memory.machine, self.registers)
        self.debug = DebugRegisters(self.engine_vcpu)
        machine = domain.memory.machine
        self.port_access = PortAccess(machine, self.engine_vcpu)
        self.ldt = LocalDescriptors(machine, domain.types, self.engine_vcpu)
        self._gdt: list[Mfn] = []
        self._uses: list[Mfn] = []
        policy = PvCpuPolicy(
            domain.engine.base_cpuid,
            vcpu_id,
            domain.max_vcpus,
            domain.clock.tsc_hz // 1000,
            domain.engine.xcr0,
        )
        self.cpuid = policy.cpuid
        msrs = PvMsrPolicy(self.engine_vcpu, vcpu_id, domain.engine.tsc)
        self.read_msr = msrs.read
        self.write_msr = msrs.write
        domain.show_info(self)

    def hypercall(self) -> None:
        """See TrapHandler."""
        dispatch(self)

    def general_protection(self, error_code: int) -> bool:
        """See TrapHandler."""
        if error_code:
            return error_code & _GP_TABLE == _GP_LDT and self._descriptor_fault(error_code)
        return privileged.emulate(self)

    def invalid_opcode(self) -> bool:
        """See TrapHandler: UD2 with ``xen`` behind it makes the next instruction the hypervisor's, if CPUID."""
        registers = self.registers
        if not fetch(self, registers.rip).startswith(_FORCED_CPUID):
            return False
        if self.engine_vcpu.faults_cpuid and not self.engine_vcpu.in_kernel:
            registers.rip = registers.rip + len(_FORCED_EMULATION) & _MASK64
            self.engine_vcpu.inject(Vector.GP)
            return True
        registers.rax, registers.rbx, registers.rcx, registers.rdx = self.cpuid(
            registers.rax & _LOW32, registers.rcx & _LOW32
        )
        registers.rip = registers.rip + len(_FORCED_CPUID) & _MASK64
        return True

    def empty_descriptor(self, selector: int) -> bool:
        """See TrapHandler."""
        return self.ldt.show(selector)

    def _descriptor_fault(self, selector: int) -> bool:
        """A selector of the LDT is bad: as in Xen, a descriptor that is not mapped is the guest's page fault."""
        if self.ldt.show(selector):
            return True
        address = self.ldt.missing(selector)
        if address is None or not may_be_mapped(address):
            return False
        self.page_fault(address, 0)
        return True

    def page_fault(self, address: GuestVirt, error_code: int) -> None:
        """From the handler of a trap: have the instruction at RIP raise #PF."""
        if self.info is not None:
            self.info[_CR2 : _CR2 + 8] = address.to_bytes(8, "little")
        user = 0 if self.engine_vcpu.in_kernel else _PF_USER
        self.engine_vcpu.inject(Vector.PF, error_code | user)

    def write_protected(self, address: GuestVirt) -> bool:
        """See TrapHandler: stores to page tables of level 1 are done as updates."""
        return emulate_store(self, address)

    def crash(self, why: str) -> None:
        """See TrapHandler."""
        self.domain.crash_vcpu(self, why)

    def has_event(self) -> bool:
        """See Vcpu."""
        return self.info is not None and bool(self.info[_UPCALL_PENDING])

    def can_take_event(self) -> bool:
        """See Vcpu."""
        return self.has_event() and self.info is not None and not self.info[_UPCALL_MASK]

    def register_info(self, gfn: Gfn, offset: int) -> None:
        """See Vcpu."""
        super().register_info(gfn, offset)
        self.engine_vcpu.use_info((gfn << PAGE_SHIFT) + offset)

    def guest_area(self, address: GuestVirt, size: int) -> list[memoryview]:
        """See Vcpu. The frames stay ones that may be written."""
        for at in (address, address + size - 1):
            mfn = self.paging.translate(GuestVirt(at), write=True) >> PAGE_SHIFT
            self.domain.types.get(mfn, PageType.WRITABLE)
        return super().guest_area(address, size)

    def initialise(self, caller: Vcpu, context: GuestVirt) -> None:
        """See Vcpu."""
        self.start_with(read_vcpu_context(caller.paging, context))

    def start_with(self, state: PvCpuState) -> None:
        """Take on registers and tables, once; XenError(EINVAL) where a frame is not what it has to be."""
        types = self.domain.types
        taken: list[Mfn] = []
        try:
            for mfn in state.gdt:
                types.get(mfn, PageType.SEG_DESC)
                taken.append(mfn)
            roots = [state.kernel_root]
            if state.user_root is not None:
                roots.append(state.user_root)
            for mfn in roots:
                types.get(mfn, PageType.L4)
                taken.append(mfn)
        except XenError:
            for mfn in taken:
                types.put(mfn)
            raise
        self._gdt = list(state.gdt)
        self.port_access.level = state.rflags >> _RFLAGS_IOPL_SHIFT & 3
        rflags = state.rflags & _RFLAGS_ITS_OWN | _RFLAGS_IF
        self.engine_vcpu.reset(replace(state, rflags=rflags))
        if state.ldt_entries:
            self.ldt.use(state.ldt_address, state.ldt_entries)
        self.initialised = True

    def load_kernel_root(self, mfn: Mfn) -> None:
        """Run the kernel on another page table of level 4; XenError(EINVAL)."""
        types = self.domain.types
        types.get(mfn, PageType.L4)
        old, user = self.engine_vcpu.roots
        self.engine_vcpu.set_roots(mfn, user)
        types.put(old)

    def load_user_root(self, mfn: Mfn | None) -> None:
        """Run programs on another page table of level 4; XenError(EINVAL)."""
        types = self.domain.types
        if mfn is not None:
            types.get(mfn, PageType.L4)
        kernel, old = self.engine_vcpu.roots
        self.engine_vcpu.set_roots(kernel, mfn)
        if old is not None:
            types.put(old)

    def load_gdt(self, frames: list[Mfn]) -> None:
        """Use another descriptor table; XenError(EINVAL)."""
        self._gdt = self._replace_tables(self._gdt, frames)
        self.engine_vcpu.set_gdt(frames)

    def _replace_tables(self, old: list[Mfn], new: list[Mfn]) -> list[Mfn]:
        types = self.domain.types
        taken: list[Mfn] = []
        try:
            for mfn in new:
                types.get(mfn, PageType.SEG_DESC)
                taken.append(mfn)
        except XenError:
            for mfn in taken:
                types.put(mfn)
            raise
        for mfn in old:
            types.put(mfn)
        return new

    def read_control(self, number: int) -> int | None:
        """A control register as the kernel sees it; None where it cannot."""
        match number:
            case 0:
                return self.registers.cr0
            case 2:
                if self.info is None:
                    return 0
                return int.from_bytes(self.info[_CR2 : _CR2 + 8], "little")
            case 3:
                return self.registers.cr3
            case 4:
                own = _CR4_DE if self.debug.extended else 0
                return _CR4 | own | (_CR4_OSXSAVE if self.domain.engine.xcr0 else 0)
        return None

    def write_extended_control(self, number: int, value: int) -> bool:
        """XSETBV: programs have what they have, so that is all that the kernel can ask for."""
        xcr0 = self.domain.engine.xcr0
        return bool(xcr0) and number == 0 and value == xcr0

    def write_control(self, number: int, value: int) -> bool:
        """Write a control register as the kernel would; False where it must not."""
        match number:
            case 0:
                if (value ^ self.registers.cr0) & ~_CR0_TS:
                    return False
                self.engine_vcpu.set_task_switched(bool(value & _CR0_TS))
            case 2:
                if self.info is not None:
                    self.info[_CR2 : _CR2 + 8] = value.to_bytes(8, "little")
            case 3:
                self.load_kernel_root(Mfn(value >> PAGE_SHIFT))
            case 4:
                # As in Xen: what cannot be had is left out in silence.
                self.debug.extended = bool(value & _CR4_DE)
            case _:
                return False
        return True
