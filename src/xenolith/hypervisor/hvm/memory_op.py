"""memory_op of an HVM domain: its physical map (public/memory.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.memory import (
    XEN_ADD_TO_PHYSMAP,
    XEN_ADD_TO_PHYSMAP_BATCH,
    XEN_MACHPHYS_MAPPING,
    XEN_MEMORY_DOMAIN,
    XEN_REMOVE_FROM_PHYSMAP,
    MapSpace,
    MemoryOp,
    XenMachphysMapping,
)
from xenolith.hypervisor.guest_access import LONG_WORD, read_struct, read_words, write_struct
from xenolith.hypervisor.hypercalls.memory_op import (
    EXTENTS_AT_ONCE,
    Operation,
    change_reservation,
    check_self,
    continuation,
    serve,
)
from xenolith.machine.address import Gfn, GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.hvm.domain import HvmDomain
    from xenolith.hypervisor.hvm.vcpu import HvmVcpu

_MACHPHYS = (0xFFFF800000000000, 0xFFFF804000000000)
_MACHPHYS_OF_32_BITS = (0xF5800000, 0xF6800000)
_NUMBERS = 1 << 64


def memory_op(vcpu: HvmVcpu, cmd: int, argument: int, _a3: int, _a4: int, _a5: int) -> int:
    """memory_op(cmd, arg); the result depends on the command."""
    return serve(_OPERATIONS, vcpu, cmd, argument)


def _populate_physmap(vcpu: HvmVcpu, argument: GuestVirt, start: int) -> int:
    """Fill empty guest frames; stops at the domain's allowance. A translated guest keeps its list."""
    domain = vcpu.domain

    def populate(gfn: int, order: int) -> int | None:
        frames = range(gfn, gfn + (1 << order))
        wanted = sum(domain.p2m.lookup(gfn) is None for gfn in frames)
        if domain.p2m.populated + wanted > domain.max_pages:
            return None
        return gfn if domain.p2m.populate(frames) else None

    return change_reservation(vcpu, MemoryOp.populate_physmap, argument, start, populate)


def _decrease_reservation(vcpu: HvmVcpu, argument: GuestVirt, start: int) -> int:
    """Give frames back to the host; one that is granted and in use stays."""
    domain = vcpu.domain

    def remove(gfn: int, order: int) -> int | None:
        removed = all(domain.p2m.remove(Gfn(gfn + offset)) for offset in range(1 << order))
        return gfn if removed else None

    return change_reservation(vcpu, MemoryOp.decrease_reservation, argument, start, remove)


def _add(domain: HvmDomain, space: int, index: int, gfn: Gfn) -> None:
    """Map one frame of a space at ``gfn``."""
    match space:
        case MapSpace.shared_info:
            if index:
                raise XenError(Errno.EINVAL, f"shared info frame {index}")
            domain.p2m.place(gfn, domain.shared_info_mfn)
        case MapSpace.grant_table:
            domain.p2m.place(gfn, domain.grants.physmap_frame(index))
        case MapSpace.gmfn:
            domain.p2m.move(Gfn(index), gfn)
        case _:
            raise XenError(Errno.ENOSYS, f"map space {space}")


def _add_to_physmap(vcpu: HvmVcpu, argument: GuestVirt, start: int) -> int:
    asked = read_struct(vcpu.paging, XEN_ADD_TO_PHYSMAP, argument)
    check_self(vcpu, asked.domid)
    if asked.space != MapSpace.gmfn_range:
        _add(vcpu.domain, asked.space, asked.idx, Gfn(asked.gpfn))
        return 0
    if max(asked.idx, asked.gpfn) + asked.size > _NUMBERS:
        raise XenError(Errno.EOVERFLOW, "the range of frames wraps around")
    end = min(asked.size, start + EXTENTS_AT_ONCE)
    for offset in range(start, end):
        if offset > start and vcpu.domain.scheduler.wants_exit:
            end = offset
            break
        _add(vcpu.domain, MapSpace.gmfn, asked.idx + offset, Gfn(asked.gpfn + offset))
    if end < asked.size:
        raise continuation(MemoryOp.add_to_physmap, argument, end)
    return 0


def _add_to_physmap_batch(vcpu: HvmVcpu, argument: GuestVirt, start: int) -> int:
    asked = read_struct(vcpu.paging, XEN_ADD_TO_PHYSMAP_BATCH, argument)
    check_self(vcpu, asked.domid)
    if asked.space == MapSpace.gmfn_foreign:
        raise XenError(Errno.EPERM, f"frames of domain {asked.foreign_domid}")
    paging = vcpu.paging
    end = min(asked.size, start + EXTENTS_AT_ONCE)
    for number in range(start, end):
        # What is mapped where nothing ever was takes milliseconds on some engines.
        if number > start and vcpu.domain.scheduler.wants_exit:
            end = number
            break
        (index,) = read_words(paging, asked.idxs, number, 1)
        (gfn,) = read_words(paging, asked.gpfns, number, 1)
        error = 0
        try:
            _add(vcpu.domain, asked.space, index, Gfn(gfn))
        except XenError as failure:
            error = -failure.errno
        paging.copy_to(GuestVirt(asked.errs + 4 * number), error.to_bytes(4, "little", signed=True))
    if end < asked.size:
        raise continuation(MemoryOp.add_to_physmap_batch, argument, end)
    return 0


def _remove_from_physmap(vcpu: HvmVcpu, argument: GuestVirt, _start: int) -> int:
    asked = read_struct(vcpu.paging, XEN_REMOVE_FROM_PHYSMAP, argument)
    check_self(vcpu, asked.domid)
    if not vcpu.domain.p2m.remove(Gfn(asked.gpfn)):
        raise XenError(Errno.ENOENT, f"no frame at gfn {asked.gpfn:#x}")
    return 0


def _maximum_gpfn(vcpu: HvmVcpu, argument: GuestVirt, _start: int) -> int:
    check_self(vcpu, read_struct(vcpu.paging, XEN_MEMORY_DOMAIN, argument).domid)
    return vcpu.domain.p2m.max_gfn


def _machphys_mapping(vcpu: HvmVcpu, argument: GuestVirt, _start: int) -> int:
    """Where a PV guest would find the table; a translated one only asks."""
    frames = vcpu.domain.memory.machine.frames
    start, end = _MACHPHYS if vcpu.paging.word == LONG_WORD else _MACHPHYS_OF_32_BITS
    answer = XenMachphysMapping(start, end, frames - 1)
    write_struct(vcpu.paging, XEN_MACHPHYS_MAPPING, argument, answer)
    return 0


_OPERATIONS: dict[int, Operation] = {
    MemoryOp.populate_physmap.value: _populate_physmap,
    MemoryOp.decrease_reservation.value: _decrease_reservation,
    MemoryOp.add_to_physmap.value: _add_to_physmap,
    MemoryOp.add_to_physmap_batch.value: _add_to_physmap_batch,
    MemoryOp.remove_from_physmap.value: _remove_from_physmap,
    MemoryOp.maximum_gpfn.value: _maximum_gpfn,
    MemoryOp.machphys_mapping.value: _machphys_mapping,
}
