"""GNTTABOP_copy: copying between granted frames and the caller's own.

Behaves as gnttab_copy_one in Xen's common/grant_table.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from xenolith.abi.grant_table import (
    GNTCOPY_dest_gref,
    GNTCOPY_source_gref,
    GnttabCopy,
    GnttabCopyPtr,
    GrantStatus,
)
from xenolith.abi.xen import DOMID_SELF
from xenolith.hypervisor.grant_table.active import COPY_FLAGS
from xenolith.hypervisor.grant_table.errors import GrantError
from xenolith.hypervisor.grant_table.guest_mapping import granter_of
from xenolith.hypervisor.grant_table.table import GrantTable
from xenolith.machine.address import PAGE_SIZE, Gfn, Mfn

_REF_MASK = 0xFFFFFFFF


class _End(NamedTuple):
    """A frame, and the bytes of it that may be copied."""

    mfn: Mfn
    start: int
    length: int


def copy(table: GrantTable, op: GnttabCopy) -> GnttabCopy:
    """Copy ``op.len`` bytes; GrantError."""
    source, dest, size = op.source, op.dest, op.len
    if not size:
        return op
    source_is_grant = op.flags & GNTCOPY_source_gref != 0
    dest_is_grant = op.flags & GNTCOPY_dest_gref != 0
    _check_domain(table, source, source_is_grant)
    _check_domain(table, dest, dest_is_grant)
    with (
        _claim(table, source, source_is_grant, readonly=True) as from_end,
        _claim(table, dest, dest_is_grant, readonly=False) as to_end,
    ):
        if max(source.offset, dest.offset) + size > PAGE_SIZE:
            raise GrantError(GrantStatus.bad_copy_arg, "the copy crosses a page boundary")
        for end, offset in ((from_end, source.offset), (to_end, dest.offset)):
            if offset < end.start or offset + size > end.start + end.length:
                raise GrantError(GrantStatus.general_error, "the copy is not within the grant")
        data = table.memory.frame(from_end.mfn)[source.offset : source.offset + size]
        table.memory.frame(to_end.mfn)[dest.offset : dest.offset + size] = data
        if not dest_is_grant:
            table.memory.written(Gfn(dest.u))
    return op


def _check_domain(table: GrantTable, pointer: GnttabCopyPtr, is_grant: bool) -> None:
    if pointer.domid == DOMID_SELF:
        return
    if not is_grant:
        raise GrantError(GrantStatus.permission_denied, "frames of others are reached by grants")
    granter_of(table, pointer.domid)


@contextmanager
def _claim(
    table: GrantTable, pointer: GnttabCopyPtr, is_grant: bool, readonly: bool
) -> Iterator[_End]:
    """Hold one end of a copy."""
    if is_grant:
        granter = table if pointer.domid == DOMID_SELF else granter_of(table, pointer.domid)
        active = granter.pin(pointer.u & _REF_MASK, table.domid, readonly, COPY_FLAGS)
        try:
            yield _End(active.mfn, active.start, active.length)
        finally:
            granter.unpin(active, readonly)
    else:
        mfn = table.own_frame(Gfn(pointer.u))
        if mfn is None:
            raise GrantError(GrantStatus.bad_page, f"there is no frame {pointer.u:#x}")
        yield _End(mfn, 0, PAGE_SIZE)
