"""The guest's frames that a request's segments name: found by their grants, as few views as possible.

Frames that are used before the guest runs again are only borrowed; those that a worker is to use are
pinned, as a mapping of Xen's would. Persistent grants stay pinned.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from xenolith.backends.block.requests import SECTOR_SHIFT, Segment
from xenolith.hypervisor.grant_table import GrantTable
from xenolith.hypervisor.grant_table.active import MAPPING_FLAGS, ActiveEntry
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, Gfn, Mfn

_DOM0 = 0


class Pinned(NamedTuple):
    """Frames that stay the guest's until they are unpinned."""

    views: list[memoryview]
    entries: list[ActiveEntry]
    readonly: bool


class GuestFrames:
    """The frames of one ring's requests; ``persistent`` of its grants stay pinned.

    Methods raise GrantError for what is not granted.
    """

    def __init__(self, grants: GrantTable, persistent: int) -> None:
        self._grants = grants
        self._persistent = persistent
        self._kept: dict[int, ActiveEntry] = {}

    def read(self, ref: int) -> bytes:
        """A copy of a whole granted frame."""
        if self._persistent:
            (_, mfn) = self._keep(ref)
            return bytes(self._grants.memory.frame(mfn))
        return bytes(self._grants.copy_window(ref, _DOM0, True, 0, PAGE_SIZE))

    def borrow(
        self, segments: Sequence[Segment], readonly: bool
    ) -> tuple[list[memoryview], list[Gfn]]:
        """Views to be used before the guest runs again, and the frames that they are."""
        refs = [ref for ref, _, _ in segments]
        if self._persistent:
            frames = [self._keep(ref) for ref in refs]
        else:
            frames = self._grants.borrow(refs, _DOM0, readonly)
        return self._views(segments, [mfn for _, mfn in frames]), [gfn for gfn, _ in frames]

    def written(self, gfns: Sequence[Gfn]) -> None:
        """Borrowed frames have been written."""
        # A call of the engine's costs more than sorting: Linux often has pages in falling order.
        rising = sorted(gfns)
        start = 0
        for index, (gfn, following) in enumerate(pairwise([*rising, Gfn(-1)]), 1):
            if not gfn <= following <= gfn + 1:
                self._grants.memory.written(rising[start], gfn + 1 - rising[start])
                start = index

    def pin(self, segments: Sequence[Segment], readonly: bool) -> Pinned:
        """Views for a worker."""
        entries: list[ActiveEntry] = []
        try:
            for ref, _, _ in segments:
                entries.append(self._grants.pin(ref, _DOM0, readonly, MAPPING_FLAGS))
        except BaseException:
            self._unpin(entries, readonly)
            raise
        return Pinned(self._views(segments, [entry.mfn for entry in entries]), entries, readonly)

    def unpin(self, pinned: Pinned) -> None:
        """The worker is done."""
        self._unpin(pinned.entries, pinned.readonly)

    def close(self) -> None:
        """Give the persistent grants back."""
        self._unpin(list(self._kept.values()), readonly=False)
        self._kept.clear()

    def _unpin(self, entries: Sequence[ActiveEntry], readonly: bool) -> None:
        for entry in entries:
            self._grants.unpin(entry, readonly)

    def _keep(self, ref: int) -> tuple[Gfn, Mfn]:
        """Pin a persistent grant for good, in place of the one that has been there for longest."""
        entry = self._kept.get(ref)
        if entry is None:
            entry = self._grants.pin(ref, _DOM0, False, MAPPING_FLAGS)
            if len(self._kept) >= self._persistent:
                self._grants.unpin(self._kept.pop(next(iter(self._kept))), False)
            self._kept[ref] = entry
        return entry.gfn, entry.mfn

    def _views(self, segments: Sequence[Segment], mfns: Sequence[Mfn]) -> list[memoryview]:
        """One view for each run of bytes that follow one another in the machine's memory."""
        memory = self._grants.memory.view
        views: list[memoryview] = []
        start = end = 0
        for (_, first, last), mfn in zip(segments, mfns, strict=True):
            frame = mfn << PAGE_SHIFT
            begin = frame + (first << SECTOR_SHIFT)
            if begin != end:
                if end > start:
                    views.append(memory[start:end])
                start = begin
            end = frame + (last + 1 << SECTOR_SHIFT)
        if end > start:
            views.append(memory[start:end])
        return views
