"""Grants as a backend uses them: which entries it may map, and what the guest sees of it."""

from __future__ import annotations

import pytest
from grant_guest import DATA, DOMID, Guest

from xenolith.abi.grant_table import (
    GrantStatus,
    GTF_accept_transfer,
    GTF_invalid,
    GTF_permit_access,
    GTF_reading,
    GTF_readonly,
    GTF_sub_page,
    GTF_transitive,
    GTF_writing,
)
from xenolith.hypervisor.grant_table import GrantError
from xenolith.machine.address import PAGE_SIZE, Gfn, Mfn

BOTH = GTF_reading | GTF_writing


@pytest.fixture(params=[1, 2])
def guest(request: pytest.FixtureRequest) -> Guest:
    guest = Guest()
    guest.table.set_version(request.param)
    return guest


def status_of(guest: Guest, ref: int, domid: int = 0, readonly: bool = False) -> GrantStatus:
    with pytest.raises(GrantError) as caught:
        guest.table.map(ref, domid, readonly)
    return caught.value.status


def test_a_mapping_is_the_frame_and_shows_in_the_entry(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access)
    mapping = guest.table.map(9, 0, readonly=False)
    assert guest.access(9) == BOTH
    assert len(mapping.view) == PAGE_SIZE
    mapping.view[5] = 0x55
    assert guest.frame(Mfn(DATA))[5] == 0x55
    assert guest.table.is_pinned(Mfn(DATA))
    mapping.unmap()
    assert guest.access(9) == 0
    assert guest.flags(9) == GTF_permit_access
    assert not guest.table.is_pinned(Mfn(DATA))


def test_code_in_a_frame_that_was_written_is_forgotten(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access)
    guest.table.map(9, 0, readonly=True).unmap()
    assert not guest.invalidated
    guest.table.map(9, 0, readonly=False).unmap()
    assert guest.invalidated == {Gfn(DATA)}


def test_a_read_only_mapping_cannot_be_written(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access | GTF_readonly)
    with guest.table.map(9, 0, readonly=True) as mapping:
        assert guest.access(9) == GTF_reading
        with pytest.raises(TypeError):
            mapping.view[0] = 1
    assert guest.access(9) == 0


def test_a_view_is_dead_after_unmap_which_may_be_repeated(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access)
    other = guest.table.map(9, 0, readonly=True)
    mapping = guest.table.map(9, 0, readonly=True)
    mapping.unmap()
    mapping.unmap()
    with pytest.raises(ValueError, match="released"):
        mapping.view[0]
    assert guest.access(9) == GTF_reading
    other.unmap()
    assert guest.access(9) == 0


def test_writing_ends_with_the_last_writer(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access)
    reader = guest.table.map(9, 0, readonly=True)
    writers = [guest.table.map(9, 0, readonly=False) for _ in range(2)]
    assert guest.access(9) == BOTH
    writers[0].unmap()
    assert guest.access(9) == BOTH
    writers[1].unmap()
    assert guest.access(9) == GTF_reading
    reader.unmap()
    assert guest.access(9) == 0


def test_the_last_writer_leaves_no_reader_behind(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access)
    with guest.table.map(9, 0, readonly=False):
        guest.table.map(9, 0, readonly=True).unmap()
        assert guest.access(9) == BOTH
    assert guest.access(9) == 0


@pytest.mark.parametrize(
    "flags",
    [GTF_invalid, GTF_accept_transfer, GTF_transitive, GTF_permit_access | GTF_sub_page],
)
def test_only_permit_access_can_be_mapped(guest: Guest, flags: int) -> None:
    guest.write_entry(9, flags)
    assert status_of(guest, 9) is GrantStatus.general_error
    assert guest.access(9) == 0


def test_a_grant_is_for_one_domain(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access, domid=3)
    assert status_of(guest, 9) is GrantStatus.general_error
    with guest.table.map(9, 3, readonly=False):
        guest.write_entry(9, GTF_permit_access | BOTH, domid=0)
        assert status_of(guest, 9) is GrantStatus.general_error


def test_a_read_only_grant_cannot_be_mapped_for_writing(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access | GTF_readonly)
    assert status_of(guest, 9) is GrantStatus.general_error
    with guest.table.map(9, 0, readonly=True):
        assert status_of(guest, 9) is GrantStatus.general_error
        assert guest.access(9) == GTF_reading


def test_a_grant_mapped_for_writing_stays_writable_whatever_its_entry_says(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access)
    with guest.table.map(9, 0, readonly=False):
        guest.write_entry(9, GTF_permit_access | GTF_readonly)
        guest.table.map(9, 0, readonly=False).unmap()
    assert status_of(guest, 9) is GrantStatus.general_error


def test_references_beyond_the_table(guest: Guest) -> None:
    for ref in (guest.table.count, 2**32 - 1):
        assert status_of(guest, ref) is GrantStatus.bad_gntref
    guest.write_entry(guest.table.count - 1, GTF_permit_access)
    guest.table.map(guest.table.count - 1, 0, readonly=False).unmap()


@pytest.mark.parametrize("frame", [32, 2**32 - 1, 2**64 - 1])
def test_a_frame_outside_the_physmap(guest: Guest, frame: int) -> None:
    guest.write_entry(9, GTF_permit_access, frame=frame)
    assert status_of(guest, 9) is GrantStatus.bad_page
    assert guest.access(9) == 0


def test_what_the_guest_writes_into_a_pinned_entry_changes_nothing(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access)
    with guest.table.map(9, 0, readonly=False) as first:
        guest.write_entry(9, GTF_invalid, domid=5, frame=2**31)
        with guest.table.map(9, 0, readonly=False) as second:
            first.view[0] = 1
            assert second.view[0] == 1
    assert guest.access(9) == 0


def test_a_reference_is_pinned_at_most_128_times_in_each_way(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access)
    for readonly in (False, True):
        mappings = [guest.table.map(9, 0, readonly) for _ in range(128)]
        assert status_of(guest, 9, readonly=readonly) is GrantStatus.general_error
        for mapping in mappings:
            mapping.unmap()
    assert guest.access(9) == 0


def test_reserved_entries_are_seeded_by_the_builder() -> None:
    guest = Guest()
    guest.table.seed(1, 0, Gfn(DATA + 1))
    with guest.table.map(1, 0, readonly=False) as mapping:
        mapping.view[:2] = b"xs"
    assert bytes(guest.frame(Mfn(DATA + 1))[:2]) == b"xs"
    assert guest.table.domid == DOMID
