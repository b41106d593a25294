"""mmu_update and update_va_mapping: changes of single page table entries (public/xen.h).

Behave as do_mmu_update and do_update_va_mapping in xen/arch/x86/mm.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.xen import DOMID_SELF
from xenolith.abi.xen_pv import (
    UVMF_FLUSHTYPE_MASK,
    UVMF_INVLPG,
    UVMF_TLB_FLUSH,
    MmuUpdateKind,
)
from xenolith.hypervisor.guest_access import UINT, Continuation
from xenolith.hypervisor.pv.page_table import ACCESSED, DIRTY
from xenolith.hypervisor.pv.page_type import PageType
from xenolith.machine.address import PAGE_SHIFT, GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_REQUEST_BYTES = 16
_KIND_MASK = 3
_AT_ONCE = 512
_COUNT_MASK = 0x7FFFFFFF
_ENTRY_MASK = 511


def mmu_update(vcpu: PvVcpu, requests: int, count: int, done: int, domid: int, _a5: int) -> int:
    """mmu_update(requests, count, done, domid): one after the other, up to the first that fails."""
    check_self(vcpu, domid)
    count &= _COUNT_MASK
    batch = min(count, _AT_ONCE)
    words = memoryview(vcpu.paging.copy_from(GuestVirt(requests), batch * _REQUEST_BYTES)).cast("Q")
    finished = 0
    try:
        for index in range(0, 2 * batch, 2):
            _update(vcpu, words[index], words[index + 1])
            finished += 1
    finally:
        add_done(vcpu, done, finished)
    if batch < count:
        raise Continuation(requests + batch * _REQUEST_BYTES, count - batch, done, domid)
    return 0


def _update(vcpu: PvVcpu, pointer: int, value: int) -> None:
    kind, address = pointer & _KIND_MASK, pointer & ~_KIND_MASK
    domain = vcpu.domain
    if kind == MmuUpdateKind.MACHPHYS_UPDATE:
        mfn = address >> PAGE_SHIFT
        if not domain.types.is_present(mfn):
            raise XenError(Errno.EINVAL, f"frame {mfn:#x} is not the domain's")
        domain.engine.m2p[mfn] = value
        return
    if address & 7:
        raise XenError(Errno.EINVAL, f"an entry at {address:#x}")
    kept = ACCESSED | DIRTY if kind == MmuUpdateKind.PT_UPDATE_PRESERVE_AD else 0
    domain.page_tables.update(address, value, kept)


def add_done(vcpu: PvVcpu, address: int, count: int) -> None:
    """Count what has been done for the guest, if it wants to know: over all continuations."""
    if address:
        before = int.from_bytes(vcpu.paging.copy_from(GuestVirt(address), 4), "little")
        vcpu.paging.copy_to(GuestVirt(address), (before + count & 0xFFFFFFFF).to_bytes(4, "little"))


def check_self(vcpu: PvVcpu, domid: int) -> None:
    """Refuse the page tables and frames of other domains: XenError(ESRCH)."""
    domid &= UINT
    if domid not in (DOMID_SELF, vcpu.domain.domid):
        raise XenError(Errno.ESRCH, f"frames of domain {domid:#x}")


def update_va_mapping(
    vcpu: PvVcpu, address: int, value: int, flags: int, _a4: int, _a5: int
) -> int:
    """update_va_mapping(va, entry, flags): by the vCPU's own page tables."""
    domain = vcpu.domain
    try:
        at, _ = vcpu.paging.slot(address)
    except XenError:
        raise XenError(Errno.EINVAL, f"no page table for {address:#x}") from None
    mfn = at >> PAGE_SHIFT
    if domain.types.type_of(mfn) is not PageType.L1:
        raise XenError(Errno.EINVAL, f"no page table for {address:#x}")
    domain.page_tables.update_l1(mfn, at >> 3 & _ENTRY_MASK, value)
    match flags & UVMF_FLUSHTYPE_MASK:
        case kind if kind == UVMF_TLB_FLUSH:
            domain.types.flush()
        case kind if kind == UVMF_INVLPG:
            domain.engine.invalidate_page(GuestVirt(address))
    return 0


def update_va_mapping_otherdomain(
    vcpu: PvVcpu, address: int, value: int, flags: int, domid: int, a5: int
) -> int:
    """update_va_mapping_otherdomain(va, entry, flags, domid): frames of no other domain can be had."""
    check_self(vcpu, domid)
    return update_va_mapping(vcpu, address, value, flags, domid, a5)
