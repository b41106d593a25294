"""memory_op of a PV guest, which knows its memory by machine frames (public/memory.h).

Behaves as xen/common/memory.c does for a domain that is not translated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.memory import XEN_MACHPHYS_MAPPING, MemoryOp, XenMachphysMapping
from xenolith.hypervisor.guest_access import write_struct
from xenolith.hypervisor.hypercalls.memory_op import Operation, change_reservation, serve
from xenolith.hypervisor.pv.memory_exchange import memory_exchange
from xenolith.machine.address import GuestVirt, Mfn

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.domain import PvDomain
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_MASK64 = (1 << 64) - 1


def memory_op(vcpu: PvVcpu, cmd: int, argument: int, _a3: int, _a4: int, _a5: int) -> int:
    """memory_op(cmd, arg); the result depends on the command."""
    return serve(_OPERATIONS, vcpu, cmd, argument)


def _populate(domain: PvDomain, order: int) -> Mfn | None:
    """An extent more, within the domain's allowance."""
    if domain.memory.populated + (1 << order) > domain.max_pages:
        return None
    return domain.memory.populate(order)


def _populate_physmap(vcpu: PvVcpu, argument: GuestVirt, start: int) -> int:
    """Frames for the pseudo-physical frames of a list, whose numbers take their place there."""

    def populate(gfn: int, order: int) -> int | None:
        mfn = _populate(vcpu.domain, order)
        if mfn is not None:
            for offset in range(1 << order):
                vcpu.domain.engine.m2p[mfn + offset] = gfn + offset & _MASK64
        return mfn

    return change_reservation(vcpu, MemoryOp.populate_physmap, argument, start, populate)


def _increase_reservation(vcpu: PvVcpu, argument: GuestVirt, start: int) -> int:
    """Frames that stand for nothing yet."""

    def increase(_number: int, order: int) -> int | None:
        return _populate(vcpu.domain, order)

    return change_reservation(vcpu, MemoryOp.increase_reservation, argument, start, increase)


def _decrease_reservation(vcpu: PvVcpu, argument: GuestVirt, start: int) -> int:
    """Give frames back to the host."""

    def release(mfn: int, order: int) -> int | None:
        released = all(vcpu.domain.memory.release(mfn + offset) for offset in range(1 << order))
        return mfn if released else None

    return change_reservation(vcpu, MemoryOp.decrease_reservation, argument, start, release)


def _machphys_mapping(vcpu: PvVcpu, argument: GuestVirt, _start: int) -> int:
    engine = vcpu.domain.engine
    frames = vcpu.domain.memory.machine.frames
    answer = XenMachphysMapping(engine.m2p_start, engine.m2p_end, frames - 1)
    write_struct(vcpu.paging, XEN_MACHPHYS_MAPPING, argument, answer)
    return 0


def _not_translated(_vcpu: PvVcpu, _argument: GuestVirt, _start: int) -> int:
    raise XenError(Errno.EACCES, "a PV domain has no physical map")


_OPERATIONS: dict[int, Operation] = {
    MemoryOp.populate_physmap.value: _populate_physmap,
    MemoryOp.increase_reservation.value: _increase_reservation,
    MemoryOp.decrease_reservation.value: _decrease_reservation,
    MemoryOp.exchange.value: memory_exchange,
    MemoryOp.machphys_mapping.value: _machphys_mapping,
    MemoryOp.add_to_physmap.value: _not_translated,
    MemoryOp.add_to_physmap_batch.value: _not_translated,
    MemoryOp.remove_from_physmap.value: _not_translated,
}
