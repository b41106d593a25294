"""Entries of a grant table by which its domain takes frames over from another (public/grant_table.h).

Behaves as gnttab_prepare_for_transfer and the end of gnttab_transfer in Xen's common/grant_table.c.
"""

from __future__ import annotations

from typing import Any

from xenolith.abi.grant_table import (
    GRANT_ENTRY_V1,
    GRANT_ENTRY_V2,
    GrantStatus,
    GTF_accept_transfer,
    GTF_transfer_committed,
    GTF_transfer_completed,
)
from xenolith.abi.layout import Layout
from xenolith.hypervisor.grant_table.errors import GrantError
from xenolith.hypervisor.grant_table.table import GrantTable
from xenolith.machine.address import PAGE_SIZE, Mfn

_COMPLETED = GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed


def accept_transfer(table: GrantTable, ref: int, domid: int, mfn: Mfn) -> None:
    """Tell an entry that waits for a frame of domain ``domid`` that this one has come; GrantError."""
    layout: Layout[Any] = GRANT_ENTRY_V1 if table.version == 1 else GRANT_ENTRY_V2
    if ref >= table.count:
        raise GrantError(GrantStatus.general_error, f"there is no reference {ref}")
    at = ref * layout.size
    frame, offset = table.memory.frame(table.shared[at // PAGE_SIZE]), at % PAGE_SIZE
    entry = layout.unpack(frame, offset)
    if entry.flags != GTF_accept_transfer or entry.domid != domid:
        raise GrantError(GrantStatus.general_error, f"reference {ref} does not wait for a frame")
    layout.pack_into(frame, offset, entry._replace(flags=_COMPLETED, frame=mfn))
