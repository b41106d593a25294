"""The pages in which packets travel to the guest: granted once, used again whenever a packet is finished."""

from __future__ import annotations

from xenolith.abi.errno import XenError
from xenolith.hypervisor.grant_table.backend_grants import BackendGrants

GrantedPage = tuple[int, memoryview]
"""A grant reference, and the page's bytes."""


class GrantedPages:
    """At most ``limit`` pages; ``minimum`` are allocated at once, XenError(ENOMEM), others when needed."""

    def __init__(self, grants: BackendGrants, minimum: int, limit: int) -> None:
        self._grants = grants
        self._limit = limit
        self._pages: list[GrantedPage] = []
        self._free: list[GrantedPage] = []
        try:
            for _ in range(minimum):
                self._allocate()
        except XenError:
            self.close()
            raise

    def has(self, count: int) -> bool:
        """Whether so many pages are free."""
        while len(self._free) < count and len(self._pages) < self._limit:
            try:
                self._allocate()
            except XenError:
                # Other devices of the domain have what there was: these pages must do.
                self._limit = len(self._pages)
        return len(self._free) >= count

    def take(self, count: int) -> list[GrantedPage]:
        """Take pages of which :meth:`has` has said that they are there."""
        return [self._free.pop() for _ in range(count)]

    def give_back(self, pages: list[GrantedPage]) -> None:
        """The guest is done with these."""
        self._free += pages

    def close(self) -> None:
        """Grant nothing any more."""
        for ref, view in self._pages:
            view.release()
            self._grants.end(ref)
        self._pages, self._free = [], []

    def _allocate(self) -> None:
        page = self._grants.offer()
        self._pages.append(page)
        self._free.append(page)
