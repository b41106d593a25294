"""Grant entries in the frames that the guest shares with us, in both of their versions.

The layouts are those of public/grant_table.h. Frames are changed by plain read-modify-write: no
guest code runs meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from xenolith.abi.grant_table import (
    GNTTAB_NR_RESERVED_ENTRIES,
    GRANT_ENTRY_V1,
    GRANT_ENTRY_V2,
    GrantEntryV1,
    GrantEntryV2,
    GTF_permit_access,
    GTF_reading,
    GTF_sub_page,
    GTF_transitive,
    GTF_type_mask,
    GTF_writing,
)
from xenolith.machine.address import PAGE_SIZE

ACCESS = GTF_reading | GTF_writing
"""The bits by which we tell the guest that a grant is in use."""


_PLAIN = GTF_permit_access


class Entry(NamedTuple):
    """A copy of what the guest wrote into an entry: domain ``domid`` may access a guest frame.

    ``length`` bytes of it from byte ``start`` on, where that is not the whole of it.
    """

    flags: int
    domid: int
    frame: int
    start: int
    length: int


class Entries(Protocol):
    """The entries of a table, by grant reference; the caller keeps references below ``count``."""

    count: int

    def read(self, ref: int) -> Entry:
        """Copy an entry."""
        ...

    def plain_frames(self, refs: Sequence[int], domid: int, checked_flags: int) -> list[int | None]:
        """The guest frame of each entry that simply grants one to ``domid``; None: look closer.

        An entry is simple if of ``checked_flags`` it has GTF_permit_access alone.
        """
        ...

    def set_access(self, ref: int, bits: int) -> None:
        """Set GTF_reading and GTF_writing as in ``bits``."""
        ...

    def clear_access(self, ref: int, bits: int) -> None:
        """Clear GTF_reading and GTF_writing as in ``bits``."""
        ...

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
        self._flags = [frame.cast("H") for frame in frames]
        self._words = [frame.cast("Q") for frame in frames]
        self.count = len(frames) * PAGE_SIZE // GRANT_ENTRY_V1.size

    def read(self, ref: int) -> Entry:
        """See :class:`Entries`."""
        flags, domid, frame = GRANT_ENTRY_V1.unpack(self._frames[ref >> 9], (ref & 511) * 8)
        return Entry(flags, domid, frame, 0, PAGE_SIZE)

    def plain_frames(self, refs: Sequence[int], domid: int, checked_flags: int) -> list[int | None]:
        """See :class:`Entries`."""
        # An entry is one word here: flags, domid, and the frame in its upper half.
        words, mask, wanted = self._words, 0xFFFF0000 | checked_flags, domid << 16 | _PLAIN
        return [
            word >> 32 if (word := words[ref >> 9][ref & 511]) & mask == wanted else None
            for ref in refs
        ]

    def set_access(self, ref: int, bits: int) -> None:
        """See :class:`Entries`."""
        self._flags[ref >> 9][(ref & 511) * 4] |= bits

    def clear_access(self, ref: int, bits: int) -> None:
        """See :class:`Entries`."""
        self._flags[ref >> 9][(ref & 511) * 4] &= ~bits

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

    def read(self, ref: int) -> Entry:
        """See :class:`Entries`."""
        flags, domid, start, length, frame = GRANT_ENTRY_V2.unpack(
            self._frames[ref >> 8], (ref & 255) * 16
        )
        if flags & GTF_sub_page:
            return Entry(flags, domid, frame, start, length)
        return Entry(flags, domid, frame, 0, PAGE_SIZE)

    def plain_frames(self, refs: Sequence[int], domid: int, checked_flags: int) -> list[int | None]:
        """See :class:`Entries`."""
        entries = map(self.read, refs)
        return [
            entry.frame if entry.domid == domid and entry.flags & checked_flags == _PLAIN else None
            for entry in entries
        ]

    def set_access(self, ref: int, bits: int) -> None:
        """See :class:`Entries`."""
        self._status[ref >> 11][ref & 2047] |= bits

    def clear_access(self, ref: int, bits: int) -> None:
        """See :class:`Entries`."""
        self._status[ref >> 11][ref & 2047] &= ~bits

    def swap(self, ref_a: int, ref_b: int) -> None:
        """See :class:`Entries`."""
        _swap(self._frames, GRANT_ENTRY_V2.size, ref_a, ref_b)
        _swap(self._status_frames, 2, ref_a, ref_b)

    def reserved(self) -> list[GrantEntryV1] | None:
        """See :class:`Entries`."""
        entries = []
        for ref in range(GNTTAB_NR_RESERVED_ENTRIES):
            flags, domid, frame, _, _ = self.read(ref)
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
            self._status[0][ref] = flags & ACCESS
            entry = GrantEntryV2(flags & ~ACCESS, domid, 0, 0, frame)
            GRANT_ENTRY_V2.pack_into(self._frames[0], ref * GRANT_ENTRY_V2.size, entry)


def _swap(frames: Sequence[memoryview], size: int, index_a: int, index_b: int) -> None:
    """Exchange two records of ``size`` bytes, a divisor of the frame size."""
    per_frame = PAGE_SIZE // size
    a = frames[index_a // per_frame][index_a % per_frame * size :][:size]
    b = frames[index_b // per_frame][index_b % per_frame * size :][:size]
    saved = bytes(a)
    a[:] = b
    b[:] = saved
