"""The grant table operations that are about the table as a whole: its size, frames and version.

Behaves as gnttab_setup_table and its neighbours in Xen's common/grant_table.c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.grant_table import (
    GNTTAB_GET_STATUS_FRAMES,
    GNTTAB_GET_VERSION,
    GNTTAB_QUERY_SIZE,
    GNTTAB_SET_VERSION,
    GNTTAB_SETUP_TABLE,
    GnttabSetVersion,
    GrantStatus,
    GrantTableOp,
)
from xenolith.abi.xen import DOMID_SELF
from xenolith.hypervisor.grant_table.errors import GrantError
from xenolith.hypervisor.grant_table.table import GrantTable
from xenolith.hypervisor.guest_access import (
    GuestAccess,
    read_struct,
    write_struct,
    write_words,
)
from xenolith.machine.address import GuestVirt, Mfn

_INVALID_GFN = 2**64 - 1


def _check_domain(table: GrantTable, domid: int) -> None:
    """Refuse to look at another domain's table: domain 0 is there, no third one is."""
    if domid not in (DOMID_SELF, table.domid):
        status = GrantStatus.bad_domain if domid else GrantStatus.permission_denied
        raise GrantError(status, f"the grant table of domain {domid}")


def _check_single(count: int) -> None:
    if count != 1:
        raise XenError(Errno.EINVAL, f"{count} operations where there can be one")


def _list_frames(
    table: GrantTable, write: Callable[[int, list[int]], None], frames: Sequence[Mfn], address: int
) -> None:
    """Store the guest frame number of each frame."""
    gfns = [table.memory.gfn_of(mfn) for mfn in frames]
    try:
        write(address, [_INVALID_GFN if gfn is None else gfn for gfn in gfns])
    except XenError as error:
        raise GrantError(GrantStatus.bad_virt_addr, f"frame list at {address:#x}") from error


def _write_u64s(access: GuestAccess, address: int, values: list[int]) -> None:
    """Status frames are listed in 64 bits each, for every guest."""
    data = b"".join(value.to_bytes(8, "little") for value in values)
    access.copy_to(GuestVirt(address), data)


def _setup_table(table: GrantTable, access: GuestAccess, argument: GuestVirt, count: int) -> None:
    _check_single(count)
    op = read_struct(access, GNTTAB_SETUP_TABLE, argument)
    try:
        _check_domain(table, op.dom)
        try:
            table.grow(op.nr_frames)
        except XenError as error:
            raise GrantError(GrantStatus.general_error, str(error)) from error
        _list_frames(
            table, partial(write_words, access), table.shared[: op.nr_frames], op.frame_list
        )
        status = GrantStatus.okay
    except GrantError as error:
        status = error.status
    write_struct(access, GNTTAB_SETUP_TABLE, argument, op._replace(status=status))


def _query_size(table: GrantTable, access: GuestAccess, argument: GuestVirt, count: int) -> None:
    _check_single(count)
    op = read_struct(access, GNTTAB_QUERY_SIZE, argument)
    try:
        _check_domain(table, op.dom)
        op = op._replace(
            nr_frames=len(table.shared), max_nr_frames=table.max_frames, status=GrantStatus.okay
        )
    except GrantError as error:
        op = op._replace(status=error.status)
    write_struct(access, GNTTAB_QUERY_SIZE, argument, op)


def _set_version(table: GrantTable, access: GuestAccess, argument: GuestVirt, _count: int) -> None:
    op = read_struct(access, GNTTAB_SET_VERSION, argument)
    try:
        table.set_version(op.version)
    finally:
        write_struct(access, GNTTAB_SET_VERSION, argument, GnttabSetVersion(table.version))


def _get_status_frames(
    table: GrantTable, access: GuestAccess, argument: GuestVirt, count: int
) -> None:
    _check_single(count)
    op = read_struct(access, GNTTAB_GET_STATUS_FRAMES, argument)
    try:
        _check_domain(table, op.dom)
        if op.nr_frames > len(table.status):
            raise GrantError(GrantStatus.general_error, f"{op.nr_frames} status frames")
        _list_frames(
            table, partial(_write_u64s, access), table.status[: op.nr_frames], op.frame_list
        )
        status = GrantStatus.okay
    except GrantError as error:
        status = error.status
    write_struct(access, GNTTAB_GET_STATUS_FRAMES, argument, op._replace(status=status))


def _get_version(table: GrantTable, access: GuestAccess, argument: GuestVirt, _count: int) -> None:
    op = read_struct(access, GNTTAB_GET_VERSION, argument)
    try:
        _check_domain(table, op.dom)
    except GrantError as error:
        errno = Errno.ESRCH if error.status is GrantStatus.bad_domain else Errno.EPERM
        raise XenError(errno, str(error)) from error
    write_struct(access, GNTTAB_GET_VERSION, argument, op._replace(version=table.version))


QUERIES: dict[int, Callable[[GrantTable, GuestAccess, GuestVirt, int], None]] = {
    GrantTableOp.setup_table.value: _setup_table,
    GrantTableOp.query_size.value: _query_size,
    GrantTableOp.set_version.value: _set_version,
    GrantTableOp.get_status_frames.value: _get_status_frames,
    GrantTableOp.get_version.value: _get_version,
}
"""By command, called with (table, access, argument, count); XenError."""
