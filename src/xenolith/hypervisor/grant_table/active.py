"""Grants that somebody uses: the checked copy of an entry, which holds whatever the guest writes meanwhile.

The counterpart of struct active_grant_entry in Xen's common/grant_table.c.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from xenolith.abi.grant_table import GTF_sub_page, GTF_type_mask
from xenolith.machine.address import Gfn, Mfn

MAPPING_FLAGS = GTF_type_mask | GTF_sub_page
COPY_FLAGS = GTF_type_mask
"""The flags of which only GTF_permit_access may be set: part of a page cannot be mapped."""

MAX_PINS = 128
"""Xen's 8-bit counters are refused another pin once their top bit is set."""


class ActiveEntry(NamedTuple):
    """A grant of ``length`` bytes from ``start`` on of guest frame ``gfn``, which is ``mfn``."""

    ref: int
    gfn: Gfn
    mfn: Mfn
    start: int
    length: int


class Granter(Protocol):
    """Whose grants are used: the domain's own table, or what backends grant to the domain."""

    def pin(self, ref: int, domid: int, readonly: bool, checked_flags: int) -> ActiveEntry:
        """Count a user of a grant to ``domid``, to be undone by :meth:`unpin`; GrantError."""
        ...

    def unpin(self, active: ActiveEntry, readonly: bool) -> None:
        """Undo one :meth:`pin`."""
        ...
