"""Frames that backends grant to the domain: what domain 0's grant table is to a guest on Xen.

The guest reaches them by GNTTABOP_copy and GNTTABOP_map_grant_ref with domain 0's number; a grant is
for reading, and stays until the backend ends it.
"""

from __future__ import annotations

from collections import Counter

from xenolith.abi.grant_table import GNTTAB_NR_RESERVED_ENTRIES, GrantStatus
from xenolith.hypervisor.grant_table.active import MAX_PINS, ActiveEntry
from xenolith.hypervisor.grant_table.errors import GrantError
from xenolith.hypervisor.grant_table.memory import GrantMemory
from xenolith.machine.address import PAGE_SIZE, Gfn, Mfn

_ENTRIES = 512
"""There are as many at the least in domain 0's grant table, in use or not."""


class BackendGrants:
    """Grants to the domain that ``memory`` is of; it implements Granter."""

    def __init__(self, memory: GrantMemory) -> None:
        self._memory = memory
        self._offered: dict[int, ActiveEntry] = {}
        self._frames: set[Mfn] = set()
        """All frames that are granted, or still mapped."""
        self._readers: Counter[Mfn] = Counter()
        """How often the guest has each frame pinned, offered still or not."""
        self._free: list[int] = []
        self._next = GNTTAB_NR_RESERVED_ENTRIES

    def offer(self) -> tuple[int, memoryview]:
        """Grant a new frame; its reference and its 4096 bytes. XenError(ENOMEM)."""
        mfn = self._memory.allocate_frame()
        self._frames.add(mfn)
        if self._free:
            ref = self._free.pop()
        else:
            ref, self._next = self._next, self._next + 1
        self._offered[ref] = ActiveEntry(ref, Gfn(mfn), mfn, 0, PAGE_SIZE)
        return ref, self._memory.frame(mfn)

    def end(self, ref: int) -> None:
        """Grant a frame no more; it goes when the guest has unmapped it."""
        active = self._offered.pop(ref)
        self._free.append(ref)
        if active.mfn not in self._readers:
            self._give_back(active.mfn)

    def owns(self, mfn: Mfn) -> bool:
        """Whether a frame is domain 0's, and not the guest's to grant or to write."""
        return mfn in self._frames

    def pin(self, ref: int, domid: int, readonly: bool, checked_flags: int) -> ActiveEntry:
        """See Granter."""
        active = self._offered.get(ref)
        if active is None and ref < _ENTRIES:
            raise GrantError(GrantStatus.general_error, f"domain 0 does not grant reference {ref}")
        if active is None:
            raise GrantError(GrantStatus.bad_gntref, f"domain 0 has no reference {ref}")
        if not readonly:
            raise GrantError(GrantStatus.general_error, f"reference {ref} is read-only")
        if self._readers[active.mfn] >= MAX_PINS:
            raise GrantError(GrantStatus.general_error, f"reference {ref} is pinned too often")
        self._readers[active.mfn] += 1
        return active

    def unpin(self, active: ActiveEntry, readonly: bool) -> None:
        """See Granter."""
        self._readers[active.mfn] -= 1
        if self._readers[active.mfn]:
            return
        del self._readers[active.mfn]
        if self._offered.get(active.ref) is not active:
            self._give_back(active.mfn)

    def _give_back(self, mfn: Mfn) -> None:
        self._frames.discard(mfn)
        self._memory.free_frame(mfn)
