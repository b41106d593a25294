"""XENMEM_exchange: other frames for those that a PV guest gives, such as follow one another (public/memory.h).

Behaves as memory_exchange in xen/common/memory.c: a chunk is as much as the larger of both kinds of extents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.memory import XEN_MEMORY_EXCHANGE, MemoryOp, XenMemoryExchange
from xenolith.abi.xen import DOMID_SELF
from xenolith.hypervisor.guest_access import read_struct
from xenolith.hypervisor.hypercalls.memory_op import continuation
from xenolith.machine.address import GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_MAX_ORDER = 9
_MOST_FRAMES = 1 << 16
_WORD = 8
_MASK64 = (1 << 64) - 1
_DONE = XEN_MEMORY_EXCHANGE.offsets["nr_exchanged"]


def memory_exchange(vcpu: PvVcpu, argument: GuestVirt, _start: int) -> int:
    """Exchange chunk by chunk, up to the first that cannot be; XenError(EINVAL, EPERM, ENOMEM, EFAULT)."""
    asked = read_struct(vcpu.paging, XEN_MEMORY_EXCHANGE, argument)
    _check(vcpu, asked)
    given, wanted = asked.in_, asked.out
    chunk_order = max(given.extent_order, wanted.extent_order)
    given_per_chunk = 1 << chunk_order - given.extent_order
    wanted_per_chunk = 1 << chunk_order - wanted.extent_order
    done = asked.nr_exchanged
    while done < given.nr_extents:
        starts = _words(vcpu, given.extent_start, done, given_per_chunk)
        at = (done // given_per_chunk) * wanted_per_chunk
        gfns = _words(vcpu, wanted.extent_start, at, wanted_per_chunk)
        frames = [start + n for start in starts for n in range(1 << given.extent_order)]
        extents = vcpu.domain.memory.exchange(frames, wanted.extent_order)
        if extents is None:
            raise XenError(Errno.ENOMEM, f"{len(frames)} frames cannot be exchanged")
        for extent, gfn in zip(extents, gfns, strict=True):
            for offset in range(1 << wanted.extent_order):
                vcpu.domain.engine.m2p[extent + offset] = gfn + offset & _MASK64
        answer = b"".join(extent.to_bytes(_WORD, "little") for extent in extents)
        vcpu.paging.copy_to(GuestVirt(wanted.extent_start + at * _WORD), answer)
        done += given_per_chunk
        vcpu.paging.copy_to(GuestVirt(argument + _DONE), done.to_bytes(_WORD, "little"))
        if vcpu.domain.scheduler.wants_exit and done < given.nr_extents:
            raise continuation(MemoryOp.exchange, argument, 0)
    return 0


def _check(vcpu: PvVcpu, asked: XenMemoryExchange) -> None:
    given, wanted = asked.in_, asked.out
    if given.domid != wanted.domid or given.domid not in (DOMID_SELF, vcpu.domain.domid):
        raise XenError(Errno.EPERM, "frames of two domains")
    if max(given.extent_order, wanted.extent_order) > _MAX_ORDER:
        raise XenError(Errno.EPERM, "extents that are too large")
    size = given.nr_extents << given.extent_order
    if size != wanted.nr_extents << wanted.extent_order or size > _MOST_FRAMES:
        raise XenError(Errno.EINVAL, f"{size} frames for another number")
    chunk = 1 << max(given.extent_order, wanted.extent_order)
    if size % chunk or asked.nr_exchanged > given.nr_extents:
        raise XenError(Errno.EINVAL, "part of an extent")
    if asked.nr_exchanged << given.extent_order & chunk - 1:
        raise XenError(Errno.EINVAL, "part of an extent")


def _words(vcpu: PvVcpu, start: int, index: int, count: int) -> list[int]:
    data = vcpu.paging.copy_from(GuestVirt(start + index * _WORD), count * _WORD)
    return memoryview(data).cast("Q").tolist()
