"""What must hold of a PV domain's page tables whatever its guest has done, found by looking at memory itself.

Knows nothing of how uses are counted: it walks from the tables that vCPUs run on and that are pinned, and asks
what Xen promises: no guest can write a table or a descriptor in use, or reach a frame that is not its own.
"""

from __future__ import annotations

from collections import Counter

from xenolith.hypervisor.pv.domain import PvDomain
from xenolith.hypervisor.pv.page_type import ABSENT, COUNT, PINNED, TYPE_SHIFT, PageType
from xenolith.machine.address import PAGE_SHIFT

_P, _RW, _US, _FORBIDDEN = 1, 2, 4, 0x98
_ADDRESS = 0x000F_FFFF_FFFF_F000
_XEN_SLOTS = range(256, 272)
_TABLES = {PageType.L1, PageType.L2, PageType.L3, PageType.L4}


class _Walk:
    def __init__(self, domain: PvDomain) -> None:
        self.words = domain.memory.view.cast("Q")
        self.info = domain.types.info
        self.frames = domain.types.frames
        self.levels: dict[int, PageType] = {}
        self.uses: Counter[int] = Counter()
        """Of each frame, as a table of the next level or as a page that may be written."""
        self.writable: set[int] = set()

    def use(self, mfn: int, level: PageType) -> None:
        """A frame is used as a table of a level."""
        self.uses[mfn] += 1
        if mfn in self.levels:
            assert self.levels[mfn] is level, (
                f"{mfn:#x} is {self.levels[mfn].name} and {level.name}"
            )
            return
        assert 0 < mfn < self.frames
        self.levels[mfn] = level
        start = mfn << PAGE_SHIFT >> 3
        for slot, entry in enumerate(self.words[start : start + 512].tolist()):
            if entry & _P and not (level is PageType.L4 and slot in _XEN_SLOTS):
                self._follow(mfn, entry, level)

    def _follow(self, table: int, entry: int, level: PageType) -> None:
        mfn = (entry & _ADDRESS) >> PAGE_SHIFT
        assert mfn < self.frames, f"an entry {entry:#x} of {level.name}"
        assert entry & _US and not entry & _FORBIDDEN, f"an entry {entry:#x} of {level.name}"
        if level is not PageType.L1 and not entry & _RW and self._is(mfn, level):
            # A linear entry, by which the guest sees its tables.
            if mfn != table:
                self.use(mfn, level)
        elif level is not PageType.L1:
            self.use(mfn, PageType(level - 1))
        elif entry & _RW:
            self.uses[mfn] += 1
            self.writable.add(mfn)

    def _is(self, mfn: int, level: PageType) -> bool:
        word = self.info[mfn]
        return bool(word & COUNT) and word >> TYPE_SHIFT == level


def check_invariants(domain: PvDomain) -> None:
    """AssertionError if a promise is broken; while the domain's vCPUs stand still."""
    walk, info = _Walk(domain), domain.types.info.tolist()
    for vcpu in domain.vcpus:
        if vcpu.initialised:
            for root in vcpu.engine_vcpu.roots:
                if root is not None:
                    walk.use(root, PageType.L4)
    for mfn, word in enumerate(info):
        if word & PINNED:
            kind = PageType(word >> TYPE_SHIFT)
            assert kind in _TABLES and not word & ABSENT
            walk.use(mfn, kind)
    for mfn, word in enumerate(info):
        kind = PageType(word >> TYPE_SHIFT) if word & COUNT else PageType.NONE
        if kind in _TABLES or mfn in walk.levels:
            assert walk.levels.get(mfn) is kind, f"{mfn:#x} is counted as {kind.name}"
            assert word & COUNT == walk.uses[mfn], f"{mfn:#x} is counted {word & COUNT} times"
            assert mfn not in walk.writable, f"a table, {mfn:#x}, can be written"
        elif mfn in walk.writable:
            assert kind is PageType.WRITABLE, f"{mfn:#x} is {kind.name} and can be written"
            # The hypervisor's own uses are counted, too.
            assert word & COUNT >= walk.uses[mfn]
