"""Random sequences of page table operations, against an independent look at what the tables then say.

The checker below knows nothing of counts: it looks at the memory itself, after each operation, from the page
tables that are in use on, and asks what Xen promises: that no guest can write a page table that is in use.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from xenolith.abi.errno import XenError
from xenolith.hypervisor.pv.native_mmu import NativeMmu
from xenolith.hypervisor.pv.page_table import PageTables
from xenolith.hypervisor.pv.page_type import COUNT, PINNED, TYPE_SHIFT, PageType, PageTypes
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, Mfn
from xenolith.machine.memory import MachineMemory

FRAMES = 12
"""Few, so that the same ones are used as everything."""

FOREIGN = (0, 11, 12, 1 << 30)
"""Frames that are not the guest's, and numbers that are no frames."""

SLOTS = (0, 1, 300)
XEN_SLOT = 260
P, RW, US, ACCESSED, LARGE, GLOBAL, PCD = 1, 2, 4, 0x20, 0x80, 0x100, 0x10
ADDRESS = 0x000F_FFFF_FFFF_F000

frames = st.integers(0, FRAMES - 1)
levels = st.sampled_from([PageType.L1, PageType.L2, PageType.L3, PageType.L4])
flags = st.sampled_from([0, P, P | RW, P | RW | US, P | US, P | RW | LARGE, P | GLOBAL, P | PCD])


def entry(mfn: int, bits: int) -> int:
    return mfn << PAGE_SHIFT | bits


class Guest(RuleBasedStateMachine):
    """A guest that knows where its frames are and asks for anything."""

    @initialize(native=st.booleans())
    def start(self, native: bool) -> None:
        self.memory = MachineMemory(FRAMES)
        self.words = self.memory.view.cast("Q")
        self.flushes = 0
        self.types = PageTypes(FRAMES, self._flush)
        mmu = NativeMmu(self.memory, self.types, 0)
        self.tables = PageTables(
            self.memory, self.types, self._fill_reserved_slots, mmu if native else None
        )
        for mfn in FOREIGN:
            if mfn < FRAMES:
                self.types.remove(Mfn(mfn))
        self.pinned: set[int] = set()
        self.mapped: Counter[int] = Counter()
        self.granted: set[int] = set()
        self.types.is_granted = lambda mfn: mfn in self.granted

    def _flush(self) -> None:
        self.flushes += 1

    def _fill_reserved_slots(self, mfn: Mfn) -> None:
        self.words[(mfn << PAGE_SHIFT >> 3) + XEN_SLOT] = 0xBAD_0000_0000 | P

    def word(self, mfn: int, slot: int) -> int:
        return self.words[(mfn << PAGE_SHIFT >> 3) + slot]

    def in_use(self) -> dict[int, PageType]:
        """Every frame that the processor could come to walk as a page table, found by walking."""
        found: dict[int, PageType] = {}

        def walk(mfn: int, level: PageType) -> None:
            if mfn in found:
                assert found[mfn] is level, f"frame {mfn} is used as {found[mfn]!r} and {level!r}"
                return
            found[mfn] = level
            if level is PageType.L1:
                return
            for slot in range(512):
                value = self.word(mfn, slot)
                if value & P and not (level is PageType.L4 and 256 <= slot < 272):
                    assert not value & (LARGE | GLOBAL | PCD)
                    target = (value & ADDRESS) >> PAGE_SHIFT
                    linear = self.is_linear(mfn, level, value)
                    walk(target, level if linear else PageType(level - 1))

        for mfn in self.pinned:
            walk(mfn, PageType(self.types.info[mfn] >> TYPE_SHIFT))
        return found

    def is_linear(self, mfn: int, level: PageType, value: int) -> bool:
        """Whether an entry names a table of its own level: nothing can be written by way of it."""
        target = (value & ADDRESS) >> PAGE_SHIFT
        if target != mfn and self.types.type_of(target) is not level:
            return False
        assert not value & RW
        return True

    @rule(
        mfn=frames,
        slot=st.sampled_from(SLOTS),
        to=st.integers(0, FRAMES) | st.sampled_from(FOREIGN),
        bits=flags,
    )
    def store_directly(self, mfn: int, slot: int, to: int, bits: int) -> None:
        """The guest writes its memory where its mappings let it, or has not given it up yet."""
        if mfn not in self.in_use() and mfn not in FOREIGN:
            self.words[(mfn << PAGE_SHIFT >> 3) + slot] = entry(to, bits)

    @rule(
        mfn=frames,
        slot=st.sampled_from((*SLOTS, XEN_SLOT)),
        to=st.integers(0, FRAMES) | st.sampled_from(FOREIGN),
        bits=flags,
    )
    def update(self, mfn: int, slot: int, to: int, bits: int) -> None:
        before = self.word(mfn, slot)
        try:
            self.tables.update(mfn * PAGE_SIZE + 8 * slot, entry(to, bits), ACCESSED)
        except XenError:
            assert self.word(mfn, slot) == before
        else:
            assert self.word(mfn, slot) & ADDRESS == to << PAGE_SHIFT

    @rule(mfn=frames, level=levels)
    def pin(self, mfn: int, level: PageType) -> None:
        try:
            self.types.pin(mfn, level)
        except XenError:
            return
        assert mfn not in self.pinned
        self.pinned.add(mfn)

    @rule(mfn=frames)
    def unpin(self, mfn: int) -> None:
        try:
            self.types.unpin(mfn)
        except XenError:
            assert mfn not in self.pinned
        else:
            self.pinned.remove(mfn)

    @rule(mfn=frames)
    def map_for_the_hypervisor(self, mfn: int) -> None:
        """As a vcpu_info page is."""
        try:
            self.types.get(mfn, PageType.WRITABLE)
        except XenError:
            return
        self.mapped[mfn] += 1

    @rule(mfn=frames)
    def unmap_for_the_hypervisor(self, mfn: int) -> None:
        if self.mapped[mfn]:
            self.mapped[mfn] -= 1
            self.types.put(mfn)

    @rule(mfn=frames)
    def grant(self, mfn: int) -> None:
        if self.types.type_of(mfn) in (PageType.NONE, PageType.WRITABLE):
            self.granted ^= {mfn}

    @invariant()
    def no_table_in_use_can_be_written(self) -> None:
        if not hasattr(self, "types"):
            return
        tables = self.in_use()
        uses: Counter[int] = Counter(self.mapped)
        uses.update(self.pinned)
        for mfn, level in tables.items():
            assert mfn not in FOREIGN
            assert mfn not in self.granted
            assert not self.mapped[mfn]
            for slot in range(512):
                value = self.word(mfn, slot)
                if not value & P or (level is PageType.L4 and 256 <= slot < 272):
                    continue
                target = (value & ADDRESS) >> PAGE_SHIFT
                assert value & US
                assert target < FRAMES
                assert target not in FOREIGN
                if level is not PageType.L1:
                    if target != mfn:
                        uses[target] += 1
                elif value & RW:
                    assert target not in tables, f"frame {mfn} maps table {target} writable"
                    uses[target] += 1
        for mfn in range(FRAMES):
            assert self.types.info[mfn] & COUNT == uses[mfn], f"frame {mfn} is miscounted"
            assert bool(self.types.info[mfn] & PINNED) == (mfn in self.pinned)
            if mfn in tables:
                assert self.types.type_of(mfn) is tables[mfn]

    def teardown(self) -> None:
        if hasattr(self, "types"):
            for mfn in list(self.pinned):
                self.types.unpin(mfn)
            for mfn, count in self.mapped.items():
                for _ in range(count):
                    self.types.put(mfn)
            assert not any(info & COUNT for info in self.types.info)


TestPageTypes: Any = Guest.TestCase
TestPageTypes.settings = settings(max_examples=60, stateful_step_count=40)


class Tables:
    """Frames 1 to 4 are a table of each level, linked; 5 and on are data."""

    def __init__(self) -> None:
        self.memory = MachineMemory(16)
        self.words = self.memory.view.cast("Q")
        self.flushes = 0
        self.types = PageTypes(16, self._flush)
        self.tables = PageTables(self.memory, self.types, lambda _mfn: None)
        for mfn in (4, 3, 2):
            self.words[mfn * 512] = entry(mfn - 1, P | RW | US)

    def _flush(self) -> None:
        self.flushes += 1

    def refuses(self, mfn: int, slot: int, value: int) -> bool:
        try:
            self.tables.update(mfn * PAGE_SIZE + 8 * slot, value)
        except XenError:
            return True
        return False


@pytest.fixture
def tables() -> Tables:
    made = Tables()
    made.types.pin(4, PageType.L4)
    return made


def test_a_table_cannot_be_mapped_writable(tables: Tables) -> None:
    for mfn in (1, 2, 3, 4):
        assert tables.refuses(1, 7, entry(mfn, P | RW))
        assert not tables.refuses(1, 7, entry(mfn, P))


def test_a_page_mapped_writable_cannot_become_a_table(tables: Tables) -> None:
    assert not tables.refuses(1, 7, entry(5, P | RW))
    assert tables.refuses(2, 9, entry(5, P | RW))
    assert not tables.refuses(1, 7, 0)
    assert not tables.refuses(2, 9, entry(5, P | RW))


def test_translations_are_forgotten_before_a_page_that_was_writable_becomes_a_table(
    tables: Tables,
) -> None:
    tables.tables.update(PAGE_SIZE + 8 * 7, entry(5, P | RW))
    tables.tables.update(PAGE_SIZE + 8 * 7, entry(5, P))
    before = tables.flushes
    tables.types.pin(5, PageType.L1)
    assert tables.flushes == before + 1


@pytest.mark.parametrize("entries_are_remembered_at", [2, 3, 4])
def test_a_table_is_forgotten_before_the_guest_can_write_it(
    tables: Tables, entries_are_remembered_at: int
) -> None:
    """Processors remember entries of the upper levels, and go on from there to what was a table once."""
    before = tables.flushes
    tables.tables.update(entries_are_remembered_at * PAGE_SIZE, 0)
    assert tables.types.may_be_written(entries_are_remembered_at - 1)
    assert tables.flushes > before


def test_a_table_that_maps_itself_writable_is_none(tables: Tables) -> None:
    tables.words[5 * 512] = entry(5, P | RW)
    with pytest.raises(XenError):
        tables.types.pin(5, PageType.L1)
    assert tables.types.type_of(5) is PageType.NONE


def test_a_table_is_refused_whole_or_not_at_all(tables: Tables) -> None:
    tables.words[5 * 512] = entry(6, P | RW)
    tables.words[5 * 512 + 1] = entry(1 << 30, P | RW)
    with pytest.raises(XenError):
        tables.types.pin(5, PageType.L1)
    assert tables.types.type_of(6) is PageType.NONE


def test_tables_may_be_seen_but_not_written_by_linear_entries(tables: Tables) -> None:
    assert tables.refuses(4, 7, entry(4, P | RW))
    assert not tables.refuses(4, 7, entry(4, P))
    tables.types.unpin(4)
    assert not any(info & COUNT for info in tables.types.info)


def test_no_chain_of_linear_entries_keeps_itself_in_use(tables: Tables) -> None:
    for mfn in (6, 7):
        tables.types.pin(mfn, PageType.L4)
    assert not tables.refuses(4, 7, entry(6, P))
    assert tables.refuses(6, 7, entry(4, P))
    assert tables.refuses(6, 7, entry(7, P))
    assert tables.refuses(7, 7, entry(4, P))
    assert not tables.refuses(7, 7, entry(6, P))
    assert not tables.refuses(6, 7, entry(6, P))
    tables.types.unpin(6)
    assert tables.types.type_of(6) is PageType.L4
    tables.types.unpin(4)
    tables.types.unpin(7)
    assert not any(info & COUNT for info in tables.types.info)


def test_a_linear_entry_names_a_table_in_use(tables: Tables) -> None:
    assert tables.refuses(4, 7, entry(5, P | LARGE))
    assert tables.refuses(4, 7, entry(1, P))
    assert tables.refuses(3, 7, entry(4, P))


def test_accessed_and_dirty_bits_are_kept_where_asked_for(tables: Tables) -> None:
    at = PAGE_SIZE + 8 * 7
    tables.tables.update(at, entry(5, P | RW | 0x60))
    tables.tables.update(at, entry(5, P), 0x60)
    assert tables.words[at >> 3] == entry(5, P | US | 0x60)


@pytest.mark.parametrize("slot", [256, 263, 271])
def test_slots_of_xens_cannot_be_written(tables: Tables, slot: int) -> None:
    assert tables.refuses(4, slot, entry(3, P | RW))
    assert tables.refuses(4, slot, 0)
