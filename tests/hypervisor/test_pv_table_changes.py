"""The entries of page tables that native code notes as changed are those that the Python beside it notes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xenolith.abi.errno import XenError
from xenolith.engine.table_changes import TableChanges
from xenolith.hypervisor.pv.native_mmu import NativeMmu
from xenolith.hypervisor.pv.page_table import PageTables
from xenolith.hypervisor.pv.page_type import PageType, PageTypes
from xenolith.machine.address import PAGE_SHIFT, Mfn
from xenolith.machine.memory import MachineMemory

FRAMES, TABLE, DATA = 32, 4, 8
NX = 1 << 63
FRAME_AND_NX = NX | 0x000F_FFFF_FFFF_F000

entries = st.builds(
    lambda frame, bits: frame << PAGE_SHIFT | bits if bits & 1 else bits,
    st.integers(DATA, DATA + 2),
    st.lists(st.sampled_from([1, 2, 4, 0x20, 0x40, 0x100, 0x200, 1 << 55, NX]), unique=True).map(
        sum
    ),
)
walked = st.sampled_from([0, 0x20, 0x60])
updates = st.lists(st.tuples(st.integers(0, 3), entries, walked), max_size=12)


class Side:
    """A page table of level 1 that is in use, and what is noted of it."""

    def __init__(self) -> None:
        self.memory = MachineMemory(FRAMES)
        self.words = self.memory.view.cast("Q")
        self.changes = TableChanges()
        self.types = PageTypes(FRAMES, lambda: None)
        self.native = NativeMmu(self.memory, self.types, 0, self.changes)
        self.tables = PageTables(
            self.memory, self.types, lambda _mfn: None, None, changes=self.changes
        )
        self.types.pin(TABLE, PageType.L1)

    def walk(self, index: int, bits: int) -> None:
        """The processor has read an entry, or written by it."""
        at = (TABLE << PAGE_SHIFT >> 3) + index
        if self.words[at] & 1:
            self.words[at] |= bits


@given(updates)
def test_both_note_the_same(operations: list[tuple[int, int, int]]) -> None:
    native, python = Side(), Side()
    for index, value, bits in operations:
        done = native.native.update_l1(Mfn(TABLE), index, value)
        try:
            python.tables.update_l1(TABLE, index, value)
        except XenError:
            assert not done
        else:
            assert done
        native.walk(index, bits)
        python.walk(index, bits)
        assert native.changes.noted() == python.changes.noted()


@given(updates)
def test_whatever_was_read_and_allows_less_now_is_noted(
    operations: list[tuple[int, int, int]],
) -> None:
    """The copy of a processor that reads an entry when it walks, and again only where that was noted."""
    side, copies = Side(), dict[int, int]()
    for index, value, bits in operations:
        before = len(side.changes.noted())
        side.native.update_l1(Mfn(TABLE), index, value)
        for address in side.changes.noted()[before:]:
            copies.pop(address >> 3, None)
        at = (TABLE << PAGE_SHIFT >> 3) + index
        copy, entry = copies.get(at), side.words[at]
        if copy is not None:
            assert entry & 1 and not (copy ^ entry) & FRAME_AND_NX
            assert not copy & ~entry & (2 | 4)
        side.walk(index, bits)
        if side.words[at] & 0x21 == 0x21:
            copies[at] = side.words[at]
