"""The state of a new PV vCPU, from the struct vcpu_guest_context that VCPUOP_initialise is given.

Checks and corrections are those of arch_set_info_guest in xen/arch/x86/domain.c.
"""

from __future__ import annotations

from xenolith.abi.arch_x86_pv import (
    TRAP_INFO,
    VCPU_GUEST_CONTEXT,
    VcpuGuestContext,
    VGCF_failsafe_disables_events,
    VGCF_in_kernel,
    VGCF_syscall_disables_events,
)
from xenolith.abi.callback import CallbackType
from xenolith.abi.errno import Errno, XenError
from xenolith.engine.pv import PvCpuState, TrapGate
from xenolith.hypervisor.guest_access import GuestAccess, read_struct
from xenolith.hypervisor.pv.local_descriptors import check_local_table
from xenolith.hypervisor.pv.traps import is_canonical, trap_gate
from xenolith.machine.address import PAGE_SHIFT, GuestVirt, Mfn

_GENERAL = (
    "rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
_RING_3 = 3
_ENTRIES_PER_FRAME = 512
_MAX_GDT_ENTRIES = 7168


def read_vcpu_context(access: GuestAccess, address: GuestVirt) -> PvCpuState:
    """Copy a context in and check all of it but its frames; XenError(EFAULT, EINVAL)."""
    context = read_struct(access, VCPU_GUEST_CONTEXT, address)
    registers = context.user_regs
    addresses = (
        registers.rip,
        context.event_callback_eip,
        context.failsafe_callback_eip,
        context.syscall_callback_eip,
        context.fs_base,
        context.gs_base_kernel,
        context.gs_base_user,
    )
    if not all(is_canonical(value) for value in addresses):
        raise XenError(Errno.EINVAL, "an address of the context is not canonical")
    if context.gdt_ents > _MAX_GDT_ENTRIES:
        raise XenError(Errno.EINVAL, f"a GDT of {context.gdt_ents} entries")
    if context.ldt_ents:
        check_local_table(context.ldt_base, context.ldt_ents)
    user_root = context.ctrlreg[1] >> PAGE_SHIFT
    return PvCpuState(
        rip=GuestVirt(registers.rip),
        rsp=GuestVirt(registers.rsp),
        cs=registers.cs | _RING_3,
        ss=registers.ss | _RING_3,
        kernel_root=Mfn(context.ctrlreg[3] >> PAGE_SHIFT),
        user_root=Mfn(user_root) if user_root else None,
        in_kernel=bool(context.flags & VGCF_in_kernel),
        rflags=registers.rflags,
        ds=registers.ds,
        es=registers.es,
        fs=registers.fs,
        gs=registers.gs,
        fs_base=context.fs_base,
        gs_base_kernel=context.gs_base_kernel,
        gs_base_user=context.gs_base_user,
        kernel_stack=context.kernel_sp,
        general={name: getattr(registers, name) for name in _GENERAL},
        traps=_traps(context),
        callbacks=_callbacks(context),
        gdt=[Mfn(mfn) for mfn in context.gdt_frames[: -(-context.gdt_ents // _ENTRIES_PER_FRAME)]],
        ldt_address=GuestVirt(context.ldt_base),
        ldt_entries=context.ldt_ents,
    )


def _traps(context: VcpuGuestContext) -> dict[int, TrapGate]:
    traps = {}
    for vector in range(256):
        info = TRAP_INFO.unpack(context.trap_ctxt, vector * TRAP_INFO.size)
        if info.address and is_canonical(info.address):
            traps[vector] = trap_gate(info)
    return traps


def _callbacks(context: VcpuGuestContext) -> dict[int, TrapGate]:
    return {
        kind: TrapGate(GuestVirt(address), masks_events=masks)
        for kind, address, masks in (
            (CallbackType.event, context.event_callback_eip, True),
            (
                CallbackType.failsafe,
                context.failsafe_callback_eip,
                bool(context.flags & VGCF_failsafe_disables_events),
            ),
            (
                CallbackType.syscall,
                context.syscall_callback_eip,
                bool(context.flags & VGCF_syscall_disables_events),
            ),
        )
    }
