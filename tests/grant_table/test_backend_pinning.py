"""Many grants at once for a backend: all of them are pinned, or none; and what is looked at is not in use."""

from __future__ import annotations

import ctypes

import pytest
from grant_guest import DATA, Guest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenolith.abi.grant_table import (
    GrantStatus,
    GTF_invalid,
    GTF_permit_access,
    GTF_reading,
    GTF_readonly,
    GTF_sub_page,
    GTF_writing,
)
from xenolith.hypervisor.grant_table import GrantError
from xenolith.hypervisor.grant_table.active import COPY_FLAGS, MAPPING_FLAGS
from xenolith.machine.address import Gfn, Mfn

PINNED_AT_MOST = 128


@pytest.fixture(params=[1, 2])
def guest(request: pytest.FixtureRequest) -> Guest:
    guest = Guest()
    guest.table.set_version(request.param)
    return guest


def refs(*numbers: int) -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * len(numbers))(*numbers)


def frame_of(guest: Guest, ref: int) -> int:
    """What a look at a grant finds; 0 where that is refused."""
    try:
        return guest.table.native.look(ref, 0, True, MAPPING_FLAGS).mfn
    except GrantError:
        return 0


def pin(guest: Guest, *numbers: int, readonly: bool = False) -> None:
    frames = (ctypes.c_uint64 * len(numbers))(*(frame_of(guest, ref) for ref in numbers))
    guest.table.native.pin_all(refs(*numbers), frames, 0, (readonly, MAPPING_FLAGS))


def status_of(guest: Guest, *numbers: int, readonly: bool = False) -> GrantStatus:
    with pytest.raises(GrantError) as caught:
        pin(guest, *numbers, readonly=readonly)
    return caught.value.status


def test_all_are_in_use_until_all_are_given_back(guest: Guest) -> None:
    for ref in (9, 10, 11):
        guest.write_entry(ref, GTF_permit_access, frame=DATA + ref)
    pin(guest, 11, 9, 9)
    assert [guest.access(ref) for ref in (9, 10, 11)] == [24, 0, 24]
    assert [guest.table.is_pinned(Mfn(DATA + ref)) for ref in (9, 10, 11)] == [True, False, True]
    guest.table.native.unpin_all(refs(9, 11), False)
    assert guest.access(9) == GTF_reading | GTF_writing
    guest.table.native.unpin_all(refs(9), False)
    assert not any(guest.access(ref) for ref in (9, 10, 11))
    assert not any(guest.table.is_pinned(Mfn(DATA + ref)) for ref in (9, 10, 11))


@pytest.mark.parametrize("frame", [DATA, DATA + 1])
def test_what_is_looked_at_is_not_in_use(guest: Guest, frame: int) -> None:
    guest.write_entry(9, GTF_permit_access, frame=frame)
    found = guest.table.native.look(9, 0, False, COPY_FLAGS)
    assert (found.gfn, found.mfn) == (Gfn(frame), Mfn(frame))
    assert not guest.table.is_pinned(Mfn(frame))
    assert guest.access(9) == 0


def test_a_frame_that_is_mapped_is_the_one_that_was_granted_then(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access, frame=DATA)
    with guest.table.map(9, 0, readonly=True):
        guest.write_entry(9, GTF_permit_access, frame=DATA + 1)
        assert guest.table.native.look(9, 0, True, MAPPING_FLAGS).mfn == DATA
        assert guest.table.is_pinned(Mfn(DATA))
        assert not guest.table.is_pinned(Mfn(DATA + 1))


@pytest.mark.parametrize("flags", [GTF_invalid, GTF_permit_access | GTF_readonly])
def test_what_is_not_granted_is_refused(guest: Guest, flags: int) -> None:
    guest.write_entry(9, flags, frame=DATA)
    assert status_of(guest, 9) == GrantStatus.general_error


def test_what_is_readonly_may_be_read(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access | GTF_readonly, frame=DATA)
    pin(guest, 9, readonly=True)
    assert guest.access(9) == GTF_reading


def test_references_frames_and_domains_that_are_not_there_are_refused(guest: Guest) -> None:
    guest.write_entry(9, GTF_permit_access, frame=DATA)
    assert status_of(guest, 9, guest.table.count) == GrantStatus.bad_gntref
    assert status_of(guest, 0xFFFFFFFF) == GrantStatus.bad_gntref
    guest.write_entry(10, GTF_permit_access, frame=0xFFFFFF)
    assert status_of(guest, 9, 10) == GrantStatus.bad_page
    guest.write_entry(11, GTF_permit_access, domid=3, frame=DATA)
    assert status_of(guest, 9, 11) == GrantStatus.general_error
    # Of those before it nothing is left.
    assert guest.access(9) == 0
    assert not guest.table.is_pinned(Mfn(DATA))


def test_a_grant_that_is_of_another_frame_by_now_is_refused(guest: Guest) -> None:
    for ref in (9, 10):
        guest.write_entry(ref, GTF_permit_access, frame=DATA + ref)
    expected = (ctypes.c_uint64 * 2)(DATA + 9, DATA + 10)
    guest.write_entry(10, GTF_permit_access, frame=DATA + 11)
    with pytest.raises(GrantError):
        guest.table.native.pin_all(refs(9, 10), expected, 0, (False, MAPPING_FLAGS))
    assert not any(guest.access(ref) for ref in (9, 10))
    assert not any(guest.table.is_pinned(Mfn(DATA + ref)) for ref in (9, 10, 11))


def test_a_part_of_a_page_cannot_be_mapped() -> None:
    guest = Guest()
    guest.table.set_version(2)
    guest.write_entry(9, GTF_permit_access | GTF_sub_page, frame=DATA)
    assert status_of(guest, 9) == GrantStatus.general_error
    assert guest.table.native.look(9, 0, True, COPY_FLAGS).length == 0


def test_a_frame_behind_which_there_is_nonsense_is_not_there(guest: Guest) -> None:
    guest.physmap[Gfn(DATA + 1)] = Mfn(1 << 40)
    guest.write_entry(9, GTF_permit_access, frame=DATA + 1)
    assert status_of(guest, 9) == GrantStatus.bad_page


@settings(max_examples=50)
@given(
    version=st.sampled_from([1, 2]),
    entries=st.lists(st.binary(min_size=16, max_size=16), max_size=24),
    wanted=st.lists(st.integers(0, 30) | st.integers(0, 2**32 - 1), max_size=8),
    readonly=st.booleans(),
)
def test_whatever_a_guest_writes_only_its_own_frames_are_pinned(
    version: int, entries: list[bytes], wanted: list[int], readonly: bool
) -> None:
    guest = Guest()
    guest.table.set_version(version)
    size = 8 * version
    for ref, entry in enumerate(entries):
        guest.frame(guest.table.shared[0])[ref * size : (ref + 1) * size] = entry[:size]
    before = [bytes(guest.frame(mfn)) for mfn in guest.table.shared]
    try:
        pin(guest, *wanted, readonly=readonly)
    except GrantError:
        pass
    else:
        assert all(guest.access(ref) & GTF_reading for ref in wanted)
        guest.table.native.unpin_all(refs(*wanted), readonly)
    assert not any(guest.table.is_pinned(Mfn(mfn)) for mfn in range(guest.machine.frames))
    # But for the bits that are ours the entries are what they were.
    cleared = bytes([~24 & 0xFF, *[0xFF] * (size - 1)])
    for mfn, frame in zip(guest.table.shared, before, strict=True):
        for ref in range(4096 // size):
            at = slice(ref * size, (ref + 1) * size)
            pairs = zip(guest.frame(mfn)[at], frame[at], cleared, strict=True)
            assert all((new ^ old) & mask == 0 for new, old, mask in pairs)
