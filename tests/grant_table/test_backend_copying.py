"""Grants as a backend copies from and to them, without a mapping."""

from __future__ import annotations

import pytest
from grant_guest import DATA, Guest

from xenolith.abi.grant_table import (
    GrantEntryV2,
    GrantStatus,
    GTF_invalid,
    GTF_permit_access,
    GTF_readonly,
    GTF_sub_page,
)
from xenolith.hypervisor.grant_table import GrantError
from xenolith.machine.address import PAGE_SIZE, Gfn, Mfn


@pytest.fixture(params=[1, 2])
def guest(request: pytest.FixtureRequest) -> Guest:
    guest = Guest()
    guest.table.set_version(request.param)
    return guest


def status_of(guest: Guest, ref: int, *, offset: int = 0, size: int = 16) -> GrantStatus:
    with pytest.raises(GrantError) as caught:
        guest.table.copy_window(ref, 0, False, offset, size)
    return caught.value.status


def test_a_window_is_the_bytes_of_the_frame_and_leaves_the_entry_alone(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access)
    guest.frame(Mfn(DATA))[100:105] = b"hello"
    assert bytes(guest.table.copy_window(9, 0, True, 100, 5)) == b"hello"
    assert not guest.invalidated
    guest.table.copy_window(9, 0, False, 4094, 2)[:] = b"ab"
    assert bytes(guest.frame(Mfn(DATA))[4094:]) == b"ab"
    assert guest.invalidated == {Gfn(DATA)}
    assert guest.access(9) == 0
    assert not guest.table.is_pinned(Mfn(DATA))


def test_what_was_not_granted_is_refused(guest: Guest) -> None:
    guest.write_entry(9, GTF_invalid)
    guest.write_entry(10, GTF_permit_access, domid=5)
    guest.write_entry(11, GTF_permit_access | GTF_readonly)
    guest.write_entry(12, GTF_permit_access, frame=1000)
    assert status_of(guest, 9) == GrantStatus.general_error
    assert status_of(guest, 10) == GrantStatus.general_error
    assert status_of(guest, 11) == GrantStatus.general_error
    assert status_of(guest, 12) == GrantStatus.bad_page
    assert status_of(guest, 1 << 20) == GrantStatus.bad_gntref
    guest.table.copy_window(11, 0, True, 0, PAGE_SIZE)


def test_a_window_ends_with_its_page(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access)
    assert status_of(guest, 9, offset=4090, size=7) == GrantStatus.bad_copy_arg
    assert status_of(guest, 9, offset=65535, size=1) == GrantStatus.bad_copy_arg


def test_part_of_a_page_may_be_granted() -> None:
    guest = Guest()
    guest.table.set_version(2)
    guest.write_entry_v2(9, GrantEntryV2(GTF_permit_access | GTF_sub_page, 0, 100, 50, DATA))
    guest.write_entry_v2(10, GrantEntryV2(GTF_permit_access | GTF_sub_page, 0, 65000, 500, DATA))
    assert len(guest.table.copy_window(9, 0, False, 100, 50)) == 50
    assert status_of(guest, 9, offset=99, size=2) == GrantStatus.general_error
    assert status_of(guest, 9, offset=149, size=2) == GrantStatus.general_error
    assert status_of(guest, 10, offset=65000, size=400) == GrantStatus.bad_copy_arg


def test_a_grant_that_is_mapped_is_copied_as_it_was_when_it_was_mapped(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access)
    with guest.table.map(9, 0, readonly=True):
        guest.write_entry(9, GTF_permit_access, frame=DATA + 1)
        guest.table.copy_window(9, 0, False, 0, 4)[:] = b"data"
        assert bytes(guest.frame(Mfn(DATA))[:4]) == b"data"
        with pytest.raises(GrantError):
            guest.table.copy_window(9, 3, True, 0, 4)
    assert not guest.table.is_pinned(Mfn(DATA))
