"""memory_op: the guest's physical map and how much memory it holds (public/memory.h).

Lists are worked on in batches: what is left of a long one is a continuation, encoded in the command as Xen does
(MEMOP_EXTENT_SHIFT), so that a list of any length cannot keep the domain from its other work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.memory import (
    E820_ENTRY,
    XEN_ADD_TO_PHYSMAP,
    XEN_ADD_TO_PHYSMAP_BATCH,
    XEN_MACHPHYS_MAPPING,
    XEN_MEMORY_DOMAIN,
    XEN_MEMORY_MAP,
    XEN_MEMORY_RESERVATION,
    XEN_REMOVE_FROM_PHYSMAP,
    MapSpace,
    MemoryOp,
    XenMachphysMapping,
    XenMemoryMap,
    XenMemoryReservation,
)
from xenolith.abi.xen import DOMID_SELF
from xenolith.hypervisor.guest_access import (
    LONG_WORD,
    Continuation,
    read_struct,
    read_words,
    write_struct,
)
from xenolith.machine.address import Gfn, GuestVirt

if TYPE_CHECKING:
    from collections.abc import Callable

    from xenolith.hypervisor.hvm.domain import HvmDomain
    from xenolith.hypervisor.hvm.vcpu import HvmVcpu

_EXTENT_SHIFT = 6
_COMMAND_MASK = (1 << _EXTENT_SHIFT) - 1
_EXTENTS_AT_ONCE = 512
_MAX_ORDER = 9
"""2 MiB: the largest extent that a domain without passed-through devices may ask for."""

_MACHPHYS = (0xFFFF800000000000, 0xFFFF804000000000)
_MACHPHYS_OF_32_BITS = (0xF5800000, 0xF6800000)
_NUMBERS = 1 << 64


def memory_op(vcpu: HvmVcpu, cmd: int, argument: int, _a3: int, _a4: int, _a5: int) -> int:
    """memory_op(cmd, arg); the result depends on the command."""
    operation = _OPERATIONS.get(cmd & _COMMAND_MASK)
    if operation is None:
        raise XenError(Errno.ENOSYS, f"memory operation {cmd & _COMMAND_MASK}")
    return operation(vcpu, GuestVirt(argument), cmd >> _EXTENT_SHIFT)


def _check_self(vcpu: HvmVcpu, domid: int) -> None:
    if domid not in (DOMID_SELF, vcpu.domain.domid):
        raise XenError(Errno.EPERM, f"memory of domain {domid}")


def _change_reservation(
    vcpu: HvmVcpu, command: MemoryOp, argument: GuestVirt, start: int, step: Callable[[range], bool]
) -> int:
    """Apply ``step`` to the frames of each of a list of extents, until one cannot be served.

    The result is the number of extents done, never an error.
    """
    try:
        reservation = read_struct(vcpu.paging, XEN_MEMORY_RESERVATION, argument)
        _check_self(vcpu, reservation.domid)
        count, order = reservation.nr_extents, reservation.extent_order
        if order > _MAX_ORDER or start >= count:
            return start
        batch = min(count - start, max(1, _EXTENTS_AT_ONCE >> order))
        gfns = _extents(vcpu, reservation, start, batch)
    except XenError:
        return start
    done = start
    for gfn in gfns:
        if done > start and vcpu.domain.scheduler.wants_exit:
            break
        try:
            if not step(range(gfn, gfn + (1 << order))):
                return done
        except XenError:
            return done
        done += 1
    if done < count:
        raise Continuation(command | done << _EXTENT_SHIFT, argument)
    return done


def _extents(vcpu: HvmVcpu, reservation: XenMemoryReservation, start: int, count: int) -> list[int]:
    return read_words(vcpu.paging, reservation.extent_start, start, count)


def _populate_physmap(vcpu: HvmVcpu, argument: GuestVirt, start: int) -> int:
    """Fill empty guest frames; stops at the domain's allowance. A translated guest keeps its list."""
    domain = vcpu.domain

    def populate(frames: range) -> bool:
        wanted = sum(domain.p2m.lookup(gfn) is None for gfn in frames)
        if domain.p2m.populated + wanted > domain.max_pages:
            return False
        return domain.p2m.populate(frames)

    return _change_reservation(vcpu, MemoryOp.populate_physmap, argument, start, populate)


def _decrease_reservation(vcpu: HvmVcpu, argument: GuestVirt, start: int) -> int:
    """Give frames back to the host; one that is granted and in use stays."""
    domain = vcpu.domain

    def remove(frames: range) -> bool:
        return all(domain.p2m.remove(Gfn(gfn)) for gfn in frames)

    return _change_reservation(vcpu, MemoryOp.decrease_reservation, argument, start, remove)


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
    _check_self(vcpu, asked.domid)
    if asked.space != MapSpace.gmfn_range:
        _add(vcpu.domain, asked.space, asked.idx, Gfn(asked.gpfn))
        return 0
    if max(asked.idx, asked.gpfn) + asked.size > _NUMBERS:
        raise XenError(Errno.EOVERFLOW, "the range of frames wraps around")
    end = min(asked.size, start + _EXTENTS_AT_ONCE)
    for offset in range(start, end):
        _add(vcpu.domain, MapSpace.gmfn, asked.idx + offset, Gfn(asked.gpfn + offset))
    if end < asked.size:
        raise Continuation(MemoryOp.add_to_physmap | end << _EXTENT_SHIFT, argument)
    return 0


def _add_to_physmap_batch(vcpu: HvmVcpu, argument: GuestVirt, start: int) -> int:
    asked = read_struct(vcpu.paging, XEN_ADD_TO_PHYSMAP_BATCH, argument)
    _check_self(vcpu, asked.domid)
    if asked.space == MapSpace.gmfn_foreign:
        raise XenError(Errno.EPERM, f"frames of domain {asked.foreign_domid}")
    paging = vcpu.paging
    end = min(asked.size, start + _EXTENTS_AT_ONCE)
    for number in range(start, end):
        (index,) = read_words(paging, asked.idxs, number, 1)
        (gfn,) = read_words(paging, asked.gpfns, number, 1)
        error = 0
        try:
            _add(vcpu.domain, asked.space, index, Gfn(gfn))
        except XenError as failure:
            error = -failure.errno
        paging.copy_to(GuestVirt(asked.errs + 4 * number), error.to_bytes(4, "little", signed=True))
    if end < asked.size:
        raise Continuation(MemoryOp.add_to_physmap_batch | end << _EXTENT_SHIFT, argument)
    return 0


def _remove_from_physmap(vcpu: HvmVcpu, argument: GuestVirt, _start: int) -> int:
    asked = read_struct(vcpu.paging, XEN_REMOVE_FROM_PHYSMAP, argument)
    _check_self(vcpu, asked.domid)
    if not vcpu.domain.p2m.remove(Gfn(asked.gpfn)):
        raise XenError(Errno.ENOENT, f"no frame at gfn {asked.gpfn:#x}")
    return 0


def _memory_map(vcpu: HvmVcpu, argument: GuestVirt, _start: int) -> int:
    """The domain's E820 map, as much of it as the buffer takes."""
    asked = read_struct(vcpu.paging, XEN_MEMORY_MAP, argument)
    entries = vcpu.domain.memory_map
    if not entries:
        raise XenError(Errno.ENOSYS, "the domain has no memory map")
    entries = entries[: asked.nr_entries]
    vcpu.paging.copy_to(
        GuestVirt(asked.buffer), b"".join(E820_ENTRY.pack(entry) for entry in entries)
    )
    write_struct(vcpu.paging, XEN_MEMORY_MAP, argument, XenMemoryMap(len(entries), asked.buffer))
    return 0


def _current_reservation(vcpu: HvmVcpu, argument: GuestVirt, _start: int) -> int:
    _check_self(vcpu, read_struct(vcpu.paging, XEN_MEMORY_DOMAIN, argument).domid)
    return vcpu.domain.p2m.populated


def _maximum_reservation(vcpu: HvmVcpu, argument: GuestVirt, _start: int) -> int:
    _check_self(vcpu, read_struct(vcpu.paging, XEN_MEMORY_DOMAIN, argument).domid)
    return vcpu.domain.max_pages


def _maximum_gpfn(vcpu: HvmVcpu, argument: GuestVirt, _start: int) -> int:
    _check_self(vcpu, read_struct(vcpu.paging, XEN_MEMORY_DOMAIN, argument).domid)
    return vcpu.domain.p2m.max_gfn


def _maximum_ram_page(vcpu: HvmVcpu, _argument: GuestVirt, _start: int) -> int:
    return vcpu.domain.memory.machine.frames - 1


def _machphys_mapping(vcpu: HvmVcpu, argument: GuestVirt, _start: int) -> int:
    """Where a PV guest would find the table; a translated one only asks."""
    frames = vcpu.domain.memory.machine.frames
    start, end = _MACHPHYS if vcpu.paging.word == LONG_WORD else _MACHPHYS_OF_32_BITS
    answer = XenMachphysMapping(start, end, frames - 1)
    write_struct(vcpu.paging, XEN_MACHPHYS_MAPPING, argument, answer)
    return 0


_OPERATIONS: dict[int, Callable[[HvmVcpu, GuestVirt, int], int]] = {
    MemoryOp.populate_physmap.value: _populate_physmap,
    MemoryOp.decrease_reservation.value: _decrease_reservation,
    MemoryOp.add_to_physmap.value: _add_to_physmap,
    MemoryOp.add_to_physmap_batch.value: _add_to_physmap_batch,
    MemoryOp.remove_from_physmap.value: _remove_from_physmap,
    MemoryOp.memory_map.value: _memory_map,
    MemoryOp.current_reservation.value: _current_reservation,
    MemoryOp.maximum_reservation.value: _maximum_reservation,
    MemoryOp.maximum_gpfn.value: _maximum_gpfn,
    MemoryOp.maximum_ram_page.value: _maximum_ram_page,
    MemoryOp.machphys_mapping.value: _machphys_mapping,
}
