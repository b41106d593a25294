"""Frames that backends grant to the domain: what domain 0's grant table is to a guest on Xen.

The guest reaches them by GNTTABOP_copy and GNTTABOP_map_grant_ref with domain 0's number; a grant is
for reading, and stays until the backend ends it.
"""

from __future__ import annotations

from xenolith.abi.grant_table import (
    GNTTAB_NR_RESERVED_ENTRIES,
    GrantStatus,
    GTF_permit_access,
    GTF_readonly,
)
from xenolith.hypervisor.grant_table.active import ActiveEntry
from xenolith.hypervisor.grant_table.entries import Entry
from xenolith.hypervisor.grant_table.errors import GrantError
from xenolith.hypervisor.grant_table.memory import GrantMemory
from xenolith.machine.address import PAGE_SIZE


class BackendGrants:
    """Grants to domain ``domid``; it implements Granter."""

    def __init__(self, domid: int, memory: GrantMemory) -> None:
        self._domid = domid
        self._memory = memory
        self._offered: dict[int, ActiveEntry] = {}
        self._free: list[int] = []
        self._next = GNTTAB_NR_RESERVED_ENTRIES

    def offer(self) -> tuple[int, memoryview]:
        """Grant a new frame; its reference and its 4096 bytes. XenError(ENOMEM)."""
        mfn = self._memory.allocate_frame()
        if self._free:
            ref = self._free.pop()
        else:
            ref, self._next = self._next, self._next + 1
        entry = Entry(GTF_permit_access | GTF_readonly, self._domid, mfn, 0, PAGE_SIZE)
        self._offered[ref] = ActiveEntry(ref, entry, mfn)
        return ref, self._memory.frame(mfn)

    def end(self, ref: int) -> None:
        """Grant a frame no more; it goes when the guest has unmapped it."""
        active = self._offered.pop(ref)
        self._free.append(ref)
        if not active.readers:
            self._memory.free_frame(active.mfn)

    def pin(self, ref: int, domid: int, readonly: bool, checked_flags: int) -> ActiveEntry:
        """See Granter."""
        active = self._offered.get(ref)
        if active is None:
            raise GrantError(GrantStatus.bad_gntref, f"domain 0 has no reference {ref}")
        if not readonly:
            raise GrantError(GrantStatus.general_error, f"reference {ref} is read-only")
        active.pin(readonly)
        return active

    def unpin(self, active: ActiveEntry, readonly: bool) -> None:
        """See Granter."""
        active.unpin(readonly)
        if not active.readers and self._offered.get(active.ref) is not active:
            self._memory.free_frame(active.mfn)
