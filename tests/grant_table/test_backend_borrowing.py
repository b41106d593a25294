"""Many grants at once for a backend that uses their frames now, without mapping them."""

from __future__ import annotations

import pytest
from grant_guest import DATA, Guest

from xenolith.abi.grant_table import (
    GrantStatus,
    GTF_invalid,
    GTF_permit_access,
    GTF_readonly,
    GTF_sub_page,
)
from xenolith.hypervisor.grant_table import GrantError
from xenolith.machine.address import Gfn, Mfn


@pytest.fixture(params=[1, 2])
def guest(request: pytest.FixtureRequest) -> Guest:
    guest = Guest()
    guest.table.set_version(request.param)
    return guest


def status_of(guest: Guest, *refs: int, readonly: bool = False) -> GrantStatus:
    with pytest.raises(GrantError) as caught:
        guest.table.borrow(refs, 0, readonly)
    return caught.value.status


def test_frames_come_in_the_order_of_the_references(guest: Guest) -> None:
    for ref in (9, 10, 11):
        guest.write_entry(ref, GTF_permit_access, frame=DATA + ref)
    borrowed = guest.table.borrow([11, 9, 9], 0, False)
    assert borrowed == [(Gfn(DATA + n), Mfn(DATA + n)) for n in (11, 9, 9)]
    assert guest.table.borrow([], 0, False) == []
    # Nothing is in use afterwards.
    assert not guest.table.is_pinned(Mfn(DATA + 9))


def test_a_frame_that_is_mapped_is_the_one_that_was_granted_then(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access, frame=DATA)
    with guest.table.map(9, 0, readonly=True):
        guest.write_entry(9, GTF_permit_access, frame=DATA + 1)
        assert guest.table.borrow([9], 0, True) == [(Gfn(DATA), Mfn(DATA))]
        assert guest.table.is_pinned(Mfn(DATA))


@pytest.mark.parametrize("flags", [GTF_invalid, GTF_permit_access | GTF_readonly])
def test_what_is_not_granted_is_refused(guest: Guest, flags: int) -> None:
    guest.write_entry(9, flags, frame=DATA)
    assert status_of(guest, 9) == GrantStatus.general_error


def test_what_is_readonly_may_be_read(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access | GTF_readonly, frame=DATA)
    assert guest.table.borrow([9], 0, True) == [(Gfn(DATA), Mfn(DATA))]


def test_references_frames_and_domains_that_are_not_there_are_refused(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access, frame=DATA)
    assert status_of(guest, 9, guest.table.count) == GrantStatus.bad_gntref
    assert status_of(guest, 0xFFFFFFFF) == GrantStatus.bad_gntref
    guest.write_entry(10, GTF_permit_access, frame=0xFFFFFF)
    assert status_of(guest, 9, 10) == GrantStatus.bad_page
    guest.write_entry(11, GTF_permit_access, domid=3, frame=DATA)
    assert status_of(guest, 9, 11) == GrantStatus.general_error


def test_a_part_of_a_page_cannot_be_borrowed() -> None:
    guest = Guest()
    guest.table.set_version(2)
    guest.write_entry(9, GTF_permit_access | GTF_sub_page, frame=DATA)
    assert status_of(guest, 9) == GrantStatus.general_error
