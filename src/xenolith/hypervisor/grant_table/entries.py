"""Grant entries in the frames that the guest shares with us, in both of their versions.

The layouts are those of public/grant_table.h. What is done with single entries is in grants.h; here
is what is done with all of them, while no guest code runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from xenolith.abi.grant_table import (
    GNTTAB_NR_RESERVED_ENTRIES,
    GRANT_ENTRY_V1,
    GRANT_ENTRY_V2,
    GrantEntryV1,
    GrantEntryV2,
    GTF_permit_access,
    GTF_reading,
    GTF_transitive,
    GTF_type_mask,
    GTF_writing,
)
from xenolith.machine.address import PAGE_SIZE

_ACCESS = GTF_reading | GTF_writing
"""The bits by which we tell the guest that a grant is in use."""


class Entries(Protocol):
    """The ``count`` entries of a table; the caller keeps grant references below."""

    count: int

    def swap(self, ref_a: int, ref_b: int) -> None:
        """Exchange two entries."""
        ...

    def reserved(self) -> list[GrantEntryV1] | None:
        """The first entries as version 1 has them; None if it cannot express them."""
        ...

    def restore(self, entries: Sequence[GrantEntryV1]) -> None:
        """Write the first entries."""
        ...


class EntriesV1:
    """512 entries a frame; the access bits are among the flags."""

    def __init__(self, frames: Sequence[memoryview]) -> None:
        self._frames = frames
        self.count = len(frames) * PAGE_SIZE // GRANT_ENTRY_V1.size

    def swap(self, ref_a: int, ref_b: int) -> None:
        """See :class:`Entries`."""
        _swap(self._frames, GRANT_ENTRY_V1.size, ref_a, ref_b)

    def reserved(self) -> list[GrantEntryV1] | None:
        """See :class:`Entries`."""
        size = GRANT_ENTRY_V1.size
        return [
            GRANT_ENTRY_V1.unpack(self._frames[0], ref * size)
            for ref in range(GNTTAB_NR_RESERVED_ENTRIES)
        ]

    def restore(self, entries: Sequence[GrantEntryV1]) -> None:
        """See :class:`Entries`."""
        for ref, entry in enumerate(entries):
            GRANT_ENTRY_V1.pack_into(self._frames[0], ref * GRANT_ENTRY_V1.size, entry)


class EntriesV2:
    """256 entries a frame; the access bits are in status words, 2048 a frame of their own."""

    def __init__(self, frames: Sequence[memoryview], status: Sequence[memoryview]) -> None:
        self._frames = frames
        self._status_frames = status
        self._status = [frame.cast("H") for frame in status]
        self.count = len(frames) * PAGE_SIZE // GRANT_ENTRY_V2.size

    def swap(self, ref_a: int, ref_b: int) -> None:
        """See :class:`Entries`."""
        _swap(self._frames, GRANT_ENTRY_V2.size, ref_a, ref_b)
        _swap(self._status_frames, 2, ref_a, ref_b)

    def reserved(self) -> list[GrantEntryV1] | None:
        """See :class:`Entries`."""
        entries = []
        for ref in range(GNTTAB_NR_RESERVED_ENTRIES):
            offset = ref * GRANT_ENTRY_V2.size
            flags, domid, _, _, frame = GRANT_ENTRY_V2.unpack(self._frames[0], offset)
            kind = flags & GTF_type_mask
            if kind == GTF_transitive or (kind == GTF_permit_access and frame >> 32):
                return None
            if kind == GTF_permit_access:
                entries.append(GrantEntryV1(flags | self._status[0][ref], domid, frame))
            else:
                entries.append(GrantEntryV1(0, 0, 0))
        return entries

    def restore(self, entries: Sequence[GrantEntryV1]) -> None:
        """See :class:`Entries`."""
        for ref, (flags, domid, frame) in enumerate(entries):
            self._status[0][ref] = flags & _ACCESS
            entry = GrantEntryV2(flags & ~_ACCESS, domid, 0, 0, frame)
            GRANT_ENTRY_V2.pack_into(self._frames[0], ref * GRANT_ENTRY_V2.size, entry)


def _swap(frames: Sequence[memoryview], size: int, index_a: int, index_b: int) -> None:
    """Exchange two records of ``size`` bytes, a divisor of the frame size."""
    per_frame = PAGE_SIZE // size
    a = frames[index_a // per_frame][index_a % per_frame * size :][:size]
    b = frames[index_b // per_frame][index_b % per_frame * size :][:size]
    saved = bytes(a)
    a[:] = b
    b[:] = saved
