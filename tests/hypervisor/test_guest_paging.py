"""Guest-virtual memory in every paging mode, against page tables that were built independently."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page_tables import (
    CR0_PE,
    CR0_PG,
    CR0_WP,
    CR4_PAE,
    CR4_PSE,
    EFER_LMA,
    LARGE,
    LEGACY,
    LONG,
    NO_EXECUTE,
    PAE,
    PRESENT,
    USER,
    WRITABLE,
    PageTables,
)
from small_domain import FlatRegisters

from xenolith.abi.errno import Errno, XenError
from xenolith.hypervisor.guest_paging import GuestPaging
from xenolith.hypervisor.p2m import P2m, RamExtent
from xenolith.machine.address import PAGE_SIZE, Gfn, GuestVirt, Mfn
from xenolith.machine.memory import MachineMemory

FRAMES = 4096
TABLES = 0x100000
DATA = 0x400000
"""Guest-physical memory: page tables from TABLES on, data from DATA on; RAM starts in the machine's middle."""

RW = PRESENT | WRITABLE


class NoMapper:
    """The guest does not run."""

    def map(self, gfn: Gfn, mfn: Mfn, count: int = 1) -> None:
        pass

    def unmap(self, gfn: Gfn, count: int = 1) -> None:
        pass


class Guest:
    """16 MiB of RAM and a CPU in one of the paging modes."""

    def __init__(self, levels: list[tuple[int, int]], *, write_protect: bool = True) -> None:
        self.machine = MachineMemory(FRAMES)
        self.p2m = P2m(self.machine, NoMapper(), [RamExtent(Gfn(0), Mfn(0), FRAMES)])
        self.image = bytearray(DATA)
        self.tables = PageTables(levels, self.image, TABLES)
        self.registers = FlatRegisters()
        self.registers.cr0 = CR0_PE | CR0_PG | (CR0_WP if write_protect else 0)
        self.registers.cr3 = self.tables.root
        self.registers.cr4 = {0: CR4_PAE, 1: CR4_PAE, 2: CR4_PSE}[[LONG, PAE, LEGACY].index(levels)]
        self.registers.efer = EFER_LMA if levels is LONG else 0
        self.paging = GuestPaging(self.machine, self.p2m, self.registers)

    def map(
        self, virtual: int, physical: int, size_bit: int = 12, leaf: int = RW, upper: int = RW
    ) -> None:
        self.tables.map(virtual, physical, size_bit, leaf, upper)
        self.machine.write(0, self.image)

    def copy_from(self, address: int, size: int) -> bytes:
        return self.paging.copy_from(GuestVirt(address), size)

    def copy_to(self, address: int, data: bytes) -> None:
        self.paging.copy_to(GuestVirt(address), data)

    def faults(self, address: int, *, write: bool = False) -> bool:
        try:
            self.paging.translate(GuestVirt(address), write=write)
        except XenError as error:
            assert error.errno == Errno.EFAULT
            return True
        return False


MODES = {
    "long": (LONG, 0xFFFF_8123_4567_8000, (12, 21, 30)),
    "pae": (PAE, 0xC123_4000, (12, 21)),
    "legacy": (LEGACY, 0x8123_4000, (12, 22)),
}


@pytest.mark.parametrize("mode", MODES)
def test_pages_of_every_size(mode: str) -> None:
    levels, address, sizes = MODES[mode]
    for size_bit in sizes:
        guest = Guest(levels)
        page = 1 << size_bit
        virtual = address & -page
        physical = max(DATA & -page, 0)
        guest.map(virtual, physical, size_bit)
        offset = DATA - physical + 0x123
        guest.machine.write(DATA + 0x123, b"found")
        assert guest.copy_from(virtual + offset, 5) == b"found"
        guest.copy_to(virtual + offset, b"stored")
        assert guest.machine.read(DATA + 0x123, 6) == b"stored"
        assert guest.faults(virtual - 1)
        assert guest.faults(virtual + page) or size_bit == 30


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", ["leaf", "upper"])
def test_writing_needs_the_right_at_every_level(mode: str, where: str) -> None:
    levels, address, _ = MODES[mode]
    rights = {"leaf": (PRESENT, RW), "upper": (RW, PRESENT)}[where]
    guest = Guest(levels)
    guest.map(address, DATA, 12, *rights)
    assert not guest.faults(address)
    # In PAE mode the top level has no right to give.
    assert guest.faults(address, write=True)
    guest.registers.cr0 &= ~CR0_WP
    assert not guest.faults(address, write=True)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_not_present_faults_at_every_level(mode: str) -> None:
    levels, address, _ = MODES[mode]
    guest = Guest(levels)
    assert guest.faults(address)
    guest.map(address, DATA, 12, leaf=WRITABLE)
    assert guest.faults(address)
    assert guest.faults(address, write=True)


@pytest.mark.parametrize("mode", MODES)
def test_other_flags_do_not_matter(mode: str) -> None:
    """Hypercalls come from ring 0 and execute nothing."""
    levels, address, _ = MODES[mode]
    guest = Guest(levels)
    high = 0 if levels is LEGACY else NO_EXECUTE
    guest.map(address, DATA, 12, leaf=RW | USER | 0xE78 | high, upper=RW | USER | 0xE38)
    assert guest.paging.translate(GuestVirt(address)) == DATA


@pytest.mark.parametrize(
    "address", [1 << 47, (1 << 63), 0xFFFF_7FFF_FFFF_FFFF, 0x0000_8000_0000_0000, 1 << 56]
)
def test_addresses_that_are_not_canonical_fault(address: int) -> None:
    guest = Guest(LONG)
    for top in (0, 0x1FF << 39, 0x100 << 39):
        guest.map(top, DATA, 12)
    assert guest.faults(address)


def test_the_page_size_bit_of_the_top_level_is_reserved() -> None:
    guest = Guest(LONG)
    guest.image[guest.tables.root : guest.tables.root + 8] = (RW | LARGE).to_bytes(8, "little")
    guest.machine.write(0, guest.image)
    assert guest.faults(0x1000)


def test_copies_do_not_wrap_around_the_address_space() -> None:
    guest = Guest(LONG)
    guest.map((1 << 64) - PAGE_SIZE, DATA)
    guest.map(0, DATA)
    assert guest.copy_from((1 << 64) - 8, 8) == bytes(8)
    with pytest.raises(XenError, match="EFAULT"):
        guest.copy_from((1 << 64) - 8, 9)
    with pytest.raises(XenError, match="EFAULT"):
        guest.copy_to((1 << 64) - 8, bytes(9))


def test_a_32_bit_cpu_sees_32_bits_of_an_address() -> None:
    for mode in ("pae", "legacy"):
        levels, address, _ = MODES[mode]
        guest = Guest(levels)
        guest.map(address, DATA)
        assert guest.paging.translate(GuestVirt(address | 7 << 32)) == DATA


def test_large_pages_of_legacy_mode_need_cr4() -> None:
    guest = Guest(LEGACY)
    guest.map(0x8000_0000, 0x400000, 22)
    assert guest.paging.translate(GuestVirt(0x8000_1234)) == 0x401234
    guest.registers.cr4 = 0
    # The entry then names a page table, which is empty.
    assert guest.faults(0x8000_0000)


def test_large_pages_of_legacy_mode_reach_beyond_4_gib() -> None:
    guest = Guest(LEGACY)
    guest.map(0x8000_0000, 5 << 32 | 0x400000, 22)
    with pytest.raises(XenError, match="0x500400000"):
        guest.paging.translate(GuestVirt(0x8000_0000))


def test_without_paging_addresses_are_physical() -> None:
    guest = Guest(LONG)
    guest.registers.cr0 = CR0_PE
    assert guest.paging.translate(GuestVirt(0x123456), write=True) == 0x123456
    assert guest.faults(FRAMES * PAGE_SIZE)
    assert guest.faults((1 << 64) - 1)


@pytest.mark.parametrize("mode", MODES)
def test_page_tables_that_are_nowhere_fault(mode: str) -> None:
    levels, address, _ = MODES[mode]
    guest = Guest(levels)
    guest.registers.cr3 = 0xFF00_0000
    assert guest.faults(address)
    guest = Guest(levels)
    guest.map(address, 0xFF00_0000)
    assert guest.faults(address)


def test_a_copy_of_nothing_needs_no_memory() -> None:
    guest = Guest(LONG)
    assert guest.copy_from((1 << 64) - 1, 0) == b""
    guest.copy_to((1 << 64) - 1, b"")


@settings(max_examples=60)
@given(st.sampled_from(sorted(MODES)), st.permutations(range(6)), st.data())
def test_copies_over_the_edges_of_pages(mode: str, order: list[int], data: st.DataObject) -> None:
    """Six pages side by side in the address space and scattered in memory."""
    levels, address, _ = MODES[mode]
    guest = Guest(levels)
    for number, place in enumerate(order):
        guest.map(address + number * PAGE_SIZE, DATA + place * PAGE_SIZE)
    start = data.draw(st.integers(0, 6 * PAGE_SIZE))
    size = data.draw(st.integers(0, 6 * PAGE_SIZE - start))
    text = bytes(number % 253 for number in range(size))
    guest.copy_to(address + start, text)
    assert guest.copy_from(address + start, size) == text
    for at in range(start, start + size, 1000):
        place = DATA + order[at // PAGE_SIZE] * PAGE_SIZE + at % PAGE_SIZE
        assert guest.machine.read(place, 1) == text[at - start : at - start + 1]


@settings(max_examples=100)
@given(
    st.sampled_from(sorted(MODES)),
    st.randoms(use_true_random=False),
    st.integers(0, (1 << 64) - 1),
    st.booleans(),
)
def test_no_page_table_does_harm(mode: str, chance: Random, address: int, write: bool) -> None:
    """A page of anything, used as every table: the answer is an address in memory or a fault."""
    guest = Guest(MODES[mode][0])
    page = Random(chance.random()).randbytes(PAGE_SIZE)
    guest.machine.write(TABLES, page)
    guest.machine.write(0, page)
    try:
        found = guest.paging.translate(GuestVirt(address), write=write)
    except XenError as error:
        assert error.errno == Errno.EFAULT
    else:
        assert 0 <= found < guest.machine.size
