"""memory_op of a PV guest, which knows its memory by machine frames (public/memory.h).

Behaves as xen/common/memory.c does for a domain that is not translated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.memory import (
    E820_ENTRY,
    XEN_MACHPHYS_MAPPING,
    XEN_MEMORY_DOMAIN,
    XEN_MEMORY_MAP,
    XEN_MEMORY_RESERVATION,
    MemoryOp,
    XenMachphysMapping,
    XenMemoryMap,
    XenMemoryReservation,
)
from xenolith.abi.xen import DOMID_SELF
from xenolith.hypervisor.guest_access import Continuation, read_struct, write_struct
from xenolith.hypervisor.pv.memory_exchange import memory_exchange
from xenolith.machine.address import GuestVirt, Mfn

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_EXTENT_SHIFT = 6
_COMMAND_MASK = (1 << _EXTENT_SHIFT) - 1
_EXTENTS_AT_ONCE = 512
_WORD = 8


def memory_op(vcpu: PvVcpu, cmd: int, argument: int, _a3: int, _a4: int, _a5: int) -> int:
    """memory_op(cmd, arg); the result depends on the command."""
    operation = _OPERATIONS.get(cmd & _COMMAND_MASK)
    if operation is None:
        raise XenError(Errno.ENOSYS, f"memory operation {cmd & _COMMAND_MASK}")
    return operation(vcpu, GuestVirt(argument), cmd >> _EXTENT_SHIFT)


def _check_self(vcpu: PvVcpu, domid: int) -> None:
    if domid not in (DOMID_SELF, vcpu.domain.domid):
        raise XenError(Errno.EPERM, f"memory of domain {domid}")


def _change_reservation(
    vcpu: PvVcpu,
    command: MemoryOp,
    argument: GuestVirt,
    start: int,
    step: Callable[[XenMemoryReservation, int], bool],
) -> int:
    """Apply ``step`` to each of a list of frames, by its index, until one cannot be served.

    The result is the number of extents done, never an error. Extents are single frames: a domain without devices
    has no use for frames that follow one another.
    """
    try:
        asked = read_struct(vcpu.paging, XEN_MEMORY_RESERVATION, argument)
        _check_self(vcpu, asked.domid)
    except XenError:
        return start
    if asked.extent_order:
        return start
    done, end = start, min(asked.nr_extents, start + _EXTENTS_AT_ONCE)
    while done < end:
        try:
            if not step(asked, done):
                return done
        except XenError:
            return done
        done += 1
    if done < asked.nr_extents:
        raise Continuation(command | done << _EXTENT_SHIFT, argument)
    return done


def _read_extent(vcpu: PvVcpu, asked: XenMemoryReservation, index: int) -> int:
    address = GuestVirt(asked.extent_start + index * _WORD)
    return int.from_bytes(vcpu.paging.copy_from(address, _WORD), "little")


def _populate(vcpu: PvVcpu) -> Mfn | None:
    """One more frame, within the domain's allowance."""
    domain = vcpu.domain
    if domain.memory.populated >= domain.max_pages:
        return None
    return domain.memory.populate()


def _answer_extent(vcpu: PvVcpu, asked: XenMemoryReservation, index: int, mfn: Mfn) -> None:
    if asked.extent_start:
        address = GuestVirt(asked.extent_start + index * _WORD)
        vcpu.paging.copy_to(address, mfn.to_bytes(_WORD, "little"))


def _populate_physmap(vcpu: PvVcpu, argument: GuestVirt, start: int) -> int:
    """Frames for the pseudo-physical frames of a list, whose numbers take their place there."""

    def populate(asked: XenMemoryReservation, index: int) -> bool:
        gfn = _read_extent(vcpu, asked, index)
        mfn = _populate(vcpu)
        if mfn is None:
            return False
        vcpu.domain.engine.m2p[mfn] = gfn
        _answer_extent(vcpu, asked, index, mfn)
        return True

    return _change_reservation(vcpu, MemoryOp.populate_physmap, argument, start, populate)


def _increase_reservation(vcpu: PvVcpu, argument: GuestVirt, start: int) -> int:
    """Frames that stand for nothing yet."""

    def increase(asked: XenMemoryReservation, index: int) -> bool:
        mfn = _populate(vcpu)
        if mfn is None:
            return False
        _answer_extent(vcpu, asked, index, mfn)
        return True

    return _change_reservation(vcpu, MemoryOp.increase_reservation, argument, start, increase)


def _decrease_reservation(vcpu: PvVcpu, argument: GuestVirt, start: int) -> int:
    """Give frames back to the host."""

    def release(asked: XenMemoryReservation, index: int) -> bool:
        return vcpu.domain.memory.release(_read_extent(vcpu, asked, index))

    return _change_reservation(vcpu, MemoryOp.decrease_reservation, argument, start, release)


def _memory_map(vcpu: PvVcpu, argument: GuestVirt, _start: int) -> int:
    """The domain's E820 map, as much of it as the buffer takes."""
    asked = read_struct(vcpu.paging, XEN_MEMORY_MAP, argument)
    entries = vcpu.domain.memory_map[: asked.nr_entries]
    vcpu.paging.copy_to(
        GuestVirt(asked.buffer), b"".join(E820_ENTRY.pack(entry) for entry in entries)
    )
    write_struct(vcpu.paging, XEN_MEMORY_MAP, argument, XenMemoryMap(len(entries), asked.buffer))
    return 0


def _current_reservation(vcpu: PvVcpu, argument: GuestVirt, _start: int) -> int:
    _check_self(vcpu, read_struct(vcpu.paging, XEN_MEMORY_DOMAIN, argument).domid)
    return vcpu.domain.memory.populated


def _maximum_reservation(vcpu: PvVcpu, argument: GuestVirt, _start: int) -> int:
    _check_self(vcpu, read_struct(vcpu.paging, XEN_MEMORY_DOMAIN, argument).domid)
    return vcpu.domain.max_pages


def _maximum_ram_page(vcpu: PvVcpu, _argument: GuestVirt, _start: int) -> int:
    return vcpu.domain.memory.machine.frames - 1


def _machphys_mapping(vcpu: PvVcpu, argument: GuestVirt, _start: int) -> int:
    engine = vcpu.domain.engine
    frames = vcpu.domain.memory.machine.frames
    answer = XenMachphysMapping(engine.m2p_start, engine.m2p_end, frames - 1)
    write_struct(vcpu.paging, XEN_MACHPHYS_MAPPING, argument, answer)
    return 0


def _not_translated(_vcpu: PvVcpu, _argument: GuestVirt, _start: int) -> int:
    raise XenError(Errno.EACCES, "a PV domain has no physical map")


_OPERATIONS: dict[int, Callable[[PvVcpu, GuestVirt, int], int]] = {
    MemoryOp.populate_physmap.value: _populate_physmap,
    MemoryOp.increase_reservation.value: _increase_reservation,
    MemoryOp.decrease_reservation.value: _decrease_reservation,
    MemoryOp.exchange.value: memory_exchange,
    MemoryOp.memory_map.value: _memory_map,
    MemoryOp.current_reservation.value: _current_reservation,
    MemoryOp.maximum_reservation.value: _maximum_reservation,
    MemoryOp.maximum_ram_page.value: _maximum_ram_page,
    MemoryOp.machphys_mapping.value: _machphys_mapping,
    MemoryOp.add_to_physmap.value: _not_translated,
    MemoryOp.add_to_physmap_batch.value: _not_translated,
    MemoryOp.remove_from_physmap.value: _not_translated,
}
