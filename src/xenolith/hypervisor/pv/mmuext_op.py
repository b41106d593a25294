"""mmuext_op: pinning page tables, switching between them, flushing the TLB, the LDT (public/xen.h).

Behaves as do_mmuext_op in xen/arch/x86/mm.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.xen_pv import MMUEXT_OP, MmuextCommand, MmuextOp
from xenolith.hypervisor.guest_access import Continuation
from xenolith.hypervisor.pv.mmu_update import add_done, check_self
from xenolith.hypervisor.pv.page_type import PageType
from xenolith.machine.address import PAGE_SIZE, GuestVirt, Mfn

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_AT_ONCE = 64
_COUNT_MASK = 0x7FFFFFFF


def mmuext_op(vcpu: PvVcpu, operations: int, count: int, done: int, domid: int, _a5: int) -> int:
    """mmuext_op(ops, count, done, domid): one after the other, up to the first that fails."""
    check_self(vcpu, domid)
    count &= _COUNT_MASK
    batch = min(count, _AT_ONCE)
    size = MMUEXT_OP.size
    requests = vcpu.paging.copy_from(GuestVirt(operations), batch * size)
    finished = 0
    try:
        for index in range(batch):
            operation = MMUEXT_OP.unpack(requests, index * size)
            act = _OPERATIONS.get(operation.cmd)
            if act is None:
                raise XenError(Errno.ENOSYS, f"extended MMU operation {operation.cmd}")
            act(vcpu, operation)
            finished += 1
    finally:
        add_done(vcpu, done, finished)
    if batch < count:
        raise Continuation(operations + batch * size, count - batch, done, domid)
    return 0


def _pin(vcpu: PvVcpu, operation: MmuextOp) -> None:
    kind = PageType(PageType.L1 + operation.cmd - MmuextCommand.PIN_L1_TABLE)
    vcpu.domain.types.pin(operation.arg1, kind)


def _unpin(vcpu: PvVcpu, operation: MmuextOp) -> None:
    vcpu.domain.types.unpin(operation.arg1)


def _new_base(vcpu: PvVcpu, operation: MmuextOp) -> None:
    vcpu.load_kernel_root(Mfn(operation.arg1))


def _new_user_base(vcpu: PvVcpu, operation: MmuextOp) -> None:
    vcpu.load_user_root(Mfn(operation.arg1) if operation.arg1 else None)


def _flush_tlb(vcpu: PvVcpu, _operation: MmuextOp) -> None:
    vcpu.domain.types.flush()


def _invalidate_page(vcpu: PvVcpu, operation: MmuextOp) -> None:
    vcpu.domain.engine.invalidate_page(GuestVirt(operation.arg1))


def _flush_cache(_vcpu: PvVcpu, _operation: MmuextOp) -> None:
    """Only a domain with devices may: XenError(EACCES), as in Xen."""
    raise XenError(Errno.EACCES, "the domain has no devices")


def _superpage(_vcpu: PvVcpu, _operation: MmuextOp) -> None:
    """XenError(EOPNOTSUPP): no PV guest has large pages, as in Xen since 4.9."""
    raise XenError(Errno.EOPNOTSUPP, "large pages")


def _set_ldt(vcpu: PvVcpu, operation: MmuextOp) -> None:
    vcpu.ldt.use(GuestVirt(operation.arg1), operation.nr_ents)


def _clear_page(vcpu: PvVcpu, operation: MmuextOp) -> None:
    with vcpu.domain.writable_frame(operation.arg1) as frame:
        frame[:] = bytes(PAGE_SIZE)


def _copy_page(vcpu: PvVcpu, operation: MmuextOp) -> None:
    if not vcpu.domain.types.is_present(operation.arg2):
        raise XenError(Errno.EINVAL, f"frame {operation.arg2:#x} is not the domain's")
    with vcpu.domain.writable_frame(operation.arg1) as frame:
        frame[:] = vcpu.domain.memory.frame(Mfn(operation.arg2))


_OPERATIONS: dict[int, Callable[[PvVcpu, MmuextOp], None]] = {
    MmuextCommand.PIN_L1_TABLE.value: _pin,
    MmuextCommand.PIN_L2_TABLE.value: _pin,
    MmuextCommand.PIN_L3_TABLE.value: _pin,
    MmuextCommand.PIN_L4_TABLE.value: _pin,
    MmuextCommand.UNPIN_TABLE.value: _unpin,
    MmuextCommand.NEW_BASEPTR.value: _new_base,
    MmuextCommand.NEW_USER_BASEPTR.value: _new_user_base,
    MmuextCommand.TLB_FLUSH_LOCAL.value: _flush_tlb,
    MmuextCommand.TLB_FLUSH_MULTI.value: _flush_tlb,
    MmuextCommand.TLB_FLUSH_ALL.value: _flush_tlb,
    MmuextCommand.INVLPG_LOCAL.value: _invalidate_page,
    MmuextCommand.INVLPG_MULTI.value: _invalidate_page,
    MmuextCommand.INVLPG_ALL.value: _invalidate_page,
    MmuextCommand.FLUSH_CACHE.value: _flush_cache,
    MmuextCommand.FLUSH_CACHE_GLOBAL.value: _flush_cache,
    MmuextCommand.SET_LDT.value: _set_ldt,
    MmuextCommand.CLEAR_PAGE.value: _clear_page,
    MmuextCommand.COPY_PAGE.value: _copy_page,
    MmuextCommand.MARK_SUPER.value: _superpage,
    MmuextCommand.UNMARK_SUPER.value: _superpage,
}
