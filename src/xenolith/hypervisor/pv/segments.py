"""Descriptor tables and segment bases: set_gdt, update_descriptor, set_segment_base.

As in xen/arch/x86/pv/descriptor-tables.c and misc-hypercalls.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.arch_x86_pv import SegmentBase
from xenolith.abi.errno import Errno, XenError
from xenolith.hypervisor.guest_access import UINT
from xenolith.hypervisor.pv.descriptors import checked_descriptor
from xenolith.hypervisor.pv.page_type import PageType
from xenolith.hypervisor.pv.traps import is_canonical
from xenolith.machine.address import PAGE_SHIFT, GuestVirt, Mfn

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_MAX_ENTRIES = 7168
"""FIRST_RESERVED_GDT_ENTRY: what lies behind is Xen's."""

_ENTRIES_PER_FRAME = 512


def set_gdt(vcpu: PvVcpu, frames: int, entries: int, _a3: int, _a4: int, _a5: int) -> int:
    """set_gdt(frames, entries)."""
    entries &= UINT
    if entries > _MAX_ENTRIES:
        raise XenError(Errno.EINVAL, f"a GDT of {entries} entries")
    count = -(-entries // _ENTRIES_PER_FRAME)
    numbers = memoryview(vcpu.paging.copy_from(GuestVirt(frames), 8 * count)).cast("Q").tolist()
    vcpu.load_gdt([Mfn(number) for number in numbers])
    return 0


def update_descriptor(
    vcpu: PvVcpu, address: int, descriptor: int, _a3: int, _a4: int, _a5: int
) -> int:
    """update_descriptor(machine address, descriptor): in a GDT, an LDT, or any page that may be written."""
    domain = vcpu.domain
    mfn = address >> PAGE_SHIFT
    if address & 7:
        raise XenError(Errno.EINVAL, f"a descriptor at {address:#x}")
    descriptor = checked_descriptor(descriptor)
    kind = PageType.SEG_DESC
    if domain.types.type_of(mfn) is not kind:
        kind = PageType.WRITABLE
    domain.types.get(mfn, kind)
    domain.memory.machine.write(address, descriptor.to_bytes(8, "little"))
    domain.types.put(mfn)
    return 0


def set_segment_base(vcpu: PvVcpu, which: int, base: int, _a3: int, _a4: int, _a5: int) -> int:
    """set_segment_base(which, base)."""
    which &= UINT
    engine_vcpu = vcpu.engine_vcpu
    if which == SegmentBase.GS_USER_SEL:
        engine_vcpu.load_user_gs(base & 0xFFFF)
        return 0
    if not is_canonical(base):
        raise XenError(Errno.EINVAL, f"a segment base of {base:#x}")
    match which:
        case SegmentBase.FS:
            engine_vcpu.fs_base = base
        case SegmentBase.GS_USER:
            engine_vcpu.gs_base_user = base
        case SegmentBase.GS_KERNEL:
            engine_vcpu.gs_base_kernel = base
        case _:
            raise XenError(Errno.EINVAL, f"segment base {which}")
    return 0
