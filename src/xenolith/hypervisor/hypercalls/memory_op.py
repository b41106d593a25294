"""memory_op, as far as all domains have it alike: dispatch, lists of extents, and questions (public/memory.h).

Lists are worked on in batches: what is left of a long one is a continuation, encoded in the command as Xen does
(MEMOP_EXTENT_SHIFT), so that a list of any length cannot keep the domain from its other work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.memory import (
    E820_ENTRY,
    XEN_FOREIGN_MEMORY_MAP,
    XEN_MEMORY_DOMAIN,
    XEN_MEMORY_MAP,
    XEN_MEMORY_RESERVATION,
    MemoryOp,
    XenMemoryMap,
    XenMemoryReservation,
)
from xenolith.abi.xen import DOMID_SELF
from xenolith.hypervisor.guest_access import (
    Continuation,
    read_struct,
    read_words,
    write_struct,
    write_words,
)
from xenolith.machine.address import GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.vcpu import Vcpu

Operation = Callable[[Any, GuestVirt, int], int]
"""Of the vCPU, the address of the argument, and how much of it is done already."""

Step = Callable[[int, int], int | None]
"""Serves one extent of a list: its number there and its order; the number that is to be there then, or None."""

EXTENTS_AT_ONCE = 512
_EXTENT_SHIFT = 6
_COMMAND_MASK = (1 << _EXTENT_SHIFT) - 1
_MAX_ORDER = 9
"""2 MiB: the largest extent that a domain without passed-through devices may ask for."""

_MAX_MEMORY_MAP = 1024
"""E820MAX."""


def serve(operations: Mapping[int, Operation], vcpu: Vcpu, cmd: int, argument: int) -> int:
    """memory_op(cmd, arg) by operations of a kind of domains, and those of all; the result depends on cmd."""
    number = cmd & _COMMAND_MASK
    operation = operations.get(number) or _COMMON.get(number)
    if operation is None:
        raise XenError(Errno.ENOSYS, f"memory operation {number}")
    return operation(vcpu, GuestVirt(argument), cmd >> _EXTENT_SHIFT)


def continuation(command: MemoryOp, argument: GuestVirt, done: int) -> Continuation:
    """The same call again, for what is left of its list."""
    return Continuation(command | done << _EXTENT_SHIFT, argument)


def check_self(vcpu: Vcpu, domid: int) -> None:
    """Refuse the memory of other domains: XenError(EPERM)."""
    if domid not in (DOMID_SELF, vcpu.domain.domid):
        raise XenError(Errno.EPERM, f"memory of domain {domid}")


def change_reservation(
    vcpu: Vcpu, command: MemoryOp, argument: GuestVirt, start: int, step: Step
) -> int:
    """Apply ``step`` to each of a list of extents, from one on, until one cannot be served.

    The result is the number of extents done, never an error.
    """
    try:
        asked = read_struct(vcpu.paging, XEN_MEMORY_RESERVATION, argument)
        check_self(vcpu, asked.domid)
        count = asked.nr_extents
        if asked.extent_order > _MAX_ORDER or start >= count:
            return start
        batch = min(count - start, max(1, EXTENTS_AT_ONCE >> asked.extent_order))
        numbers = _numbers(vcpu, command, asked, start, batch)
    except XenError:
        return start
    done = start
    for number in numbers:
        if done > start and vcpu.domain.scheduler.wants_exit:
            break
        try:
            answer = step(number, asked.extent_order)
            if answer is None:
                return done
            if answer != number and asked.extent_start:
                at = asked.extent_start + done * vcpu.paging.word
                write_words(vcpu.paging, at, [answer])
        except XenError:
            return done
        done += 1
    if done < count:
        raise continuation(command, argument, done)
    return done


def _numbers(
    vcpu: Vcpu, command: MemoryOp, asked: XenMemoryReservation, start: int, count: int
) -> list[int]:
    """What the list says; one that is only to be filled needs not be there."""
    if command is MemoryOp.increase_reservation:
        return [0] * count
    return read_words(vcpu.paging, asked.extent_start, start, count)


def _memory_map(vcpu: Vcpu, argument: GuestVirt, _start: int) -> int:
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


def _set_memory_map(vcpu: Vcpu, argument: GuestVirt, _start: int) -> int:
    """Give the domain another E820 map, which whatever runs in it next will find: GRUB reserves pages so."""
    asked = read_struct(vcpu.paging, XEN_FOREIGN_MEMORY_MAP, argument)
    check_self(vcpu, asked.domid)
    count = asked.map.nr_entries
    if count > _MAX_MEMORY_MAP:
        raise XenError(Errno.EINVAL, f"a memory map of {count} entries")
    image = vcpu.paging.copy_from(GuestVirt(asked.map.buffer), count * E820_ENTRY.size)
    entries = range(0, len(image), E820_ENTRY.size)
    vcpu.domain.memory_map = tuple(E820_ENTRY.unpack(image, at) for at in entries)
    return 0


def _current_reservation(vcpu: Vcpu, argument: GuestVirt, _start: int) -> int:
    check_self(vcpu, read_struct(vcpu.paging, XEN_MEMORY_DOMAIN, argument).domid)
    return vcpu.domain.memory.populated


def _maximum_reservation(vcpu: Vcpu, argument: GuestVirt, _start: int) -> int:
    check_self(vcpu, read_struct(vcpu.paging, XEN_MEMORY_DOMAIN, argument).domid)
    return vcpu.domain.max_pages


def _maximum_ram_page(vcpu: Vcpu, _argument: GuestVirt, _start: int) -> int:
    return vcpu.domain.memory.machine.frames - 1


_COMMON: dict[int, Operation] = {
    MemoryOp.memory_map.value: _memory_map,
    MemoryOp.set_memory_map.value: _set_memory_map,
    MemoryOp.current_reservation.value: _current_reservation,
    MemoryOp.maximum_reservation.value: _maximum_reservation,
    MemoryOp.maximum_ram_page.value: _maximum_ram_page,
}
