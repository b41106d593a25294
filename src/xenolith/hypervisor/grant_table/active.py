"""Grants in use: the validated copy of an entry, and how often it is pinned.

The counterpart of struct active_grant_entry in Xen's common/grant_table.c; what the guest writes
into an entry while it is pinned changes nothing.
"""

from __future__ import annotations

from typing import Protocol

from xenolith.abi.grant_table import GrantStatus, GTF_sub_page, GTF_type_mask, GTF_writing
from xenolith.hypervisor.grant_table.entries import ACCESS, Entry
from xenolith.hypervisor.grant_table.errors import GrantError
from xenolith.machine.address import Gfn, Mfn

MAPPING_FLAGS = GTF_type_mask | GTF_sub_page
COPY_FLAGS = GTF_type_mask
"""The flags of which only GTF_permit_access may be set: part of a page cannot be mapped."""

_MAX_PINS = 128
"""Xen's 8-bit counters are refused another pin once their top bit is set."""


class ActiveEntry:
    """A grant of guest frame ``gfn``, which is ``mfn``, to ``domid``; pinned ``readers`` + ``writers`` times."""

    __slots__ = (
        "domid",
        "gfn",
        "is_sub_page",
        "length",
        "mfn",
        "readers",
        "ref",
        "start",
        "writers",
    )

    def __init__(self, ref: int, entry: Entry, mfn: Mfn) -> None:
        self.ref = ref
        self.domid = entry.domid
        self.gfn = Gfn(entry.frame)
        self.mfn = mfn
        self.start = entry.start
        self.length = entry.length
        self.is_sub_page = entry.flags & GTF_sub_page != 0
        self.readers = 0
        self.writers = 0

    def pin(self, readonly: bool) -> None:
        """Count another user; GrantError(general_error) if there are too many."""
        if (self.readers if readonly else self.writers) >= _MAX_PINS:
            raise GrantError(GrantStatus.general_error, f"reference {self.ref} is pinned too often")
        if readonly:
            self.readers += 1
        else:
            self.writers += 1

    def unpin(self, readonly: bool) -> int:
        """Count one user less; return the access bits that are now to be cleared."""
        if readonly:
            self.readers -= 1
        else:
            self.writers -= 1
        if self.writers:
            return 0
        return GTF_writing if self.readers else ACCESS


class Granter(Protocol):
    """Whose grants are used: the domain's own table, or what backends grant to the domain."""

    def pin(self, ref: int, domid: int, readonly: bool, checked_flags: int) -> ActiveEntry:
        """Count a user of a grant to ``domid``, to be undone by :meth:`unpin`; GrantError."""
        ...

    def unpin(self, active: ActiveEntry, readonly: bool) -> None:
        """Undo one :meth:`pin`."""
        ...
