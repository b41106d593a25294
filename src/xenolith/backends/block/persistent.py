"""Persistent grants: a frontend that offers feature-persistent reuses its grants, which stay pinned for it.

See public/io/blkif.h on feature-persistent.
"""

from __future__ import annotations

from collections.abc import Iterable

from xenolith.hypervisor.grant_table import GrantTable
from xenolith.hypervisor.grant_table.active import MAPPING_FLAGS, ActiveEntry

_DOM0 = 0


class PersistentGrants:
    """The last ``most`` grants that were used on a ring."""

    def __init__(self, grants: GrantTable, most: int) -> None:
        self._grants = grants
        self._most = most
        self._kept: dict[int, ActiveEntry] = {}

    def keep(self, refs: Iterable[int]) -> None:
        """Pin grants, in place of those that have been there for longest; GrantError."""
        for ref in refs:
            if ref in self._kept:
                continue
            entry = self._grants.pin(ref, _DOM0, False, MAPPING_FLAGS)
            if len(self._kept) >= self._most:
                self._grants.unpin(self._kept.pop(next(iter(self._kept))), False)
            self._kept[ref] = entry

    def close(self) -> None:
        """Give all of them back."""
        for entry in self._kept.values():
            self._grants.unpin(entry, readonly=False)
        self._kept.clear()
