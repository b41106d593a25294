"""Entries that name a table of their own level, by which a kernel sees its page tables in its address space.

Behaves as get_l*_linear_pagetable in xen/arch/x86/mm.c: they may not be written through, and a table that has such
entries of others can be in none of others', so that no chain of them keeps itself in use.
"""

from __future__ import annotations

from collections import Counter

from xenolith.hypervisor.pv.page_type import PageType, PageTypes


class LinearPageTables:
    """Which tables of a domain name others of their level, and which are named so."""

    def __init__(self, types: PageTypes) -> None:
        self._types = types
        self._links: Counter[int] = Counter()
        """By frame: how many others it names; or negative, how often it is named."""

    def get(self, table: int, kind: PageType, target: int) -> bool:
        """Count an entry of ``table`` that names a table of its kind read-only; False if it may not."""
        if target == table:
            return True
        if self._types.type_of(target) is not kind:
            return False
        if self._links[table] < 0 or self._links[target] > 0:
            return False
        self._types.get(target, kind)
        self._links[table] += 1
        self._links[target] -= 1
        return True

    def put(self, table: int, kind: PageType, target: int) -> bool:
        """Undo a :meth:`get`; False if the entry names a table of the level below, as they usually do."""
        if target == table:
            return True
        if self._types.type_of(target) is not kind:
            return False
        for mfn, change in ((table, -1), (target, 1)):
            self._links[mfn] += change
            if not self._links[mfn]:
                del self._links[mfn]
        self._types.put(target)
        return True
