"""The grant_table_op hypercall: batches of operations, each with a status of its own.

The argument structs are those of public/grant_table.h; behaves as do_grant_table_op in Xen's
common/grant_table.c does for an HVM domain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.grant_table import (
    GNTTAB_COPY,
    GNTTAB_MAP_GRANT_REF,
    GNTTAB_SWAP_GRANT_REF,
    GNTTAB_TRANSFER,
    GNTTAB_UNMAP_AND_REPLACE,
    GNTTAB_UNMAP_GRANT_REF,
    GnttabSwapGrantRef,
    GnttabTransfer,
    GrantStatus,
    GrantTableOp,
)
from xenolith.abi.layout import Layout
from xenolith.hypervisor.grant_table.copy import copy
from xenolith.hypervisor.grant_table.errors import GrantError
from xenolith.hypervisor.grant_table.guest_mapping import (
    map_grant_ref,
    unmap_and_replace,
    unmap_grant_ref,
)
from xenolith.hypervisor.grant_table.queries import QUERIES
from xenolith.hypervisor.grant_table.table import GrantTable
from xenolith.hypervisor.guest_access import (
    UINT,
    Continuation,
    GuestAccess,
    layout_of,
    read_struct,
    write_struct,
)
from xenolith.machine.address import Gfn, GuestVirt

_BATCH = 128
"""Operations done before other work of the domain gets its turn: about a millisecond."""

_CMD_MASK = 0xFFF
"""The rest of the command is Xen's own, for continuations of cache_flush."""


class Operation(NamedTuple):
    """An operation that comes in batches: its argument, and what turns that into its answer."""

    layout: Layout[Any]
    act: Callable[[GrantTable, Any], Any]


def grant_table_op(
    table: GrantTable,
    access: GuestAccess,
    cmd: int,
    argument: GuestVirt,
    count: int,
    own: Mapping[int, Operation] = MappingProxyType({}),
) -> int:
    """Do ``count`` operations (GrantTableOp) on the array at ``argument``; XenError, or 0.

    ``own`` are operations that are not as an HVM domain's. Continuation when more remains than one batch.
    """
    cmd, count = cmd & UINT, count & UINT
    if count >> 31 or (cmd & ~_CMD_MASK and cmd & _CMD_MASK != GrantTableOp.cache_flush):
        raise XenError(Errno.EINVAL, f"{count} grant table operations {cmd:#x}")
    query = QUERIES.get(cmd)
    if query is not None:
        query(table, access, argument, count)
        return 0
    operation = own.get(cmd) or _OPERATIONS.get(cmd)
    if operation is None:
        raise XenError(Errno.ENOSYS, f"grant table operation {cmd}")
    _do_batch(table, access, operation, argument, min(count, _BATCH))
    if count > _BATCH:
        done = _BATCH * layout_of(access, operation.layout).size
        raise Continuation(cmd, argument + done, count - _BATCH)
    return 0


def _do_batch(
    table: GrantTable, access: GuestAccess, operation: Operation, argument: GuestVirt, count: int
) -> None:
    layout, act = operation
    size = layout_of(access, layout).size
    for index in range(count):
        address = GuestVirt(argument + index * size)
        record = read_struct(access, layout, address)
        try:
            record = act(table, record)._replace(status=GrantStatus.okay)
        except GrantError as error:
            record = record._replace(status=error.status)
        write_struct(access, layout, address, record)


def _transfer(table: GrantTable, op: GnttabTransfer) -> GnttabTransfer:
    """An HVM domain cannot give frames away: GrantError."""
    if table.memory.mfn_of(Gfn(op.mfn)) is None:
        raise GrantError(GrantStatus.bad_page, f"there is no frame {op.mfn:#x}")
    raise GrantError(GrantStatus.general_error, "an HVM domain cannot give frames away")


def _swap_grant_ref(table: GrantTable, op: GnttabSwapGrantRef) -> GnttabSwapGrantRef:
    table.swap(op.ref_a, op.ref_b)
    return op


_OPERATIONS: dict[int, Operation] = {
    GrantTableOp.map_grant_ref: Operation(GNTTAB_MAP_GRANT_REF, map_grant_ref),
    GrantTableOp.unmap_grant_ref: Operation(GNTTAB_UNMAP_GRANT_REF, unmap_grant_ref),
    GrantTableOp.transfer: Operation(GNTTAB_TRANSFER, _transfer),
    GrantTableOp.copy: Operation(GNTTAB_COPY, copy),
    GrantTableOp.unmap_and_replace: Operation(GNTTAB_UNMAP_AND_REPLACE, unmap_and_replace),
    GrantTableOp.swap_grant_ref: Operation(GNTTAB_SWAP_GRANT_REF, _swap_grant_ref),
}
