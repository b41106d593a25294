"""Frames that backends grant to the guest: it copies from them and maps them, for reading."""

from __future__ import annotations

import pytest
from grant_guest import DATA, DOMID, RAM_FRAMES, Guest

from xenolith.abi.errno import XenError
from xenolith.abi.grant_table import (
    GNTTAB_COPY,
    GNTTAB_MAP_GRANT_REF,
    GNTTAB_UNMAP_GRANT_REF,
    GNTCOPY_dest_gref,
    GNTCOPY_source_gref,
    GNTMAP_host_map,
    GNTMAP_readonly,
    GnttabCopy,
    GnttabCopyPtr,
    GnttabMapGrantRef,
    GnttabUnmapGrantRef,
    GrantStatus,
    GrantTableOp,
    GTF_permit_access,
)
from xenolith.abi.xen import DOMID_SELF
from xenolith.hypervisor.grant_table import GrantError
from xenolith.machine.address import PAGE_SIZE, Gfn, Mfn

OWN = GnttabCopyPtr(DATA, DOMID_SELF, 100)
WINDOW = 64 * PAGE_SIZE


def copy(guest: Guest, source: GnttabCopyPtr, dest: GnttabCopyPtr, flags: int) -> int:
    op = GnttabCopy(source, dest, 50, flags, GrantStatus.okay)
    return guest.hypercall(GrantTableOp.copy, GNTTAB_COPY, op).status


def map_it(guest: Guest, ref: int, flags: int) -> GnttabMapGrantRef:
    op = GnttabMapGrantRef(WINDOW, flags, ref, 0, GrantStatus.okay, 0, 0)
    return guest.hypercall(GrantTableOp.map_grant_ref, GNTTAB_MAP_GRANT_REF, op)


def unmap(guest: Guest, handle: int) -> int:
    op = GnttabUnmapGrantRef(WINDOW, 0, handle, GrantStatus.okay)
    return guest.hypercall(GrantTableOp.unmap_grant_ref, GNTTAB_UNMAP_GRANT_REF, op).status


def test_the_guest_copies_from_a_frame_and_not_to_it() -> None:
    guest = Guest()
    ref, view = guest.table.backends.offer()
    view[200:250] = bytes(range(50))
    theirs = GnttabCopyPtr(ref, 0, 200)
    assert copy(guest, theirs, OWN, GNTCOPY_source_gref) == GrantStatus.okay
    assert bytes(guest.frame(Mfn(DATA))[100:150]) == bytes(range(50))
    assert copy(guest, OWN, theirs, GNTCOPY_dest_gref) == GrantStatus.general_error
    assert bytes(view[200:250]) == bytes(range(50))
    for other in (ref + 1, ref - 1, 511):
        theirs = GnttabCopyPtr(other, 0, 200)
        assert copy(guest, theirs, OWN, GNTCOPY_source_gref) == GrantStatus.general_error
    theirs = GnttabCopyPtr(1 << 31, 0, 200)
    assert copy(guest, theirs, OWN, GNTCOPY_source_gref) == GrantStatus.bad_gntref
    # A number that is good in one table is not in the other.
    theirs = GnttabCopyPtr(ref, DOMID, 200)
    assert copy(guest, theirs, OWN, GNTCOPY_source_gref) == GrantStatus.general_error


def test_a_frame_that_is_ended_can_be_used_no_more_and_is_given_back() -> None:
    guest = Guest()
    free = len(guest.free)
    refs = [guest.table.backends.offer()[0] for _ in range(3)]
    assert len(guest.free) == free - 3
    guest.table.backends.end(refs[1])
    assert len(guest.free) == free - 2
    source = GnttabCopyPtr(refs[1], 0, 0)
    assert copy(guest, source, OWN, GNTCOPY_source_gref) == GrantStatus.general_error
    assert guest.table.backends.offer()[0] == refs[1]


def test_a_mapped_frame_outlives_the_end_of_its_grant() -> None:
    guest = Guest()
    free = len(guest.free)
    ref, _ = guest.table.backends.offer()
    assert map_it(guest, ref, GNTMAP_host_map).status == GrantStatus.general_error
    mapped = map_it(guest, ref, GNTMAP_host_map | GNTMAP_readonly)
    assert mapped.status == GrantStatus.okay
    mfn, readonly = guest.granted[Gfn(64)]
    assert mfn >= RAM_FRAMES and readonly
    guest.table.backends.end(ref)
    again, _ = guest.table.backends.offer()
    assert again == ref and len(guest.free) == free - 2
    assert unmap(guest, mapped.handle) == GrantStatus.okay
    assert not guest.granted and len(guest.free) == free - 1
    assert unmap(guest, mapped.handle) == GrantStatus.bad_handle


def test_no_frame_left_is_said() -> None:
    guest = Guest(xen_frames=4)
    with pytest.raises(XenError):
        for _ in range(5):
            guest.table.backends.offer()


def test_a_frame_of_domain_0_is_not_the_guests_to_grant_or_to_write() -> None:
    guest = Guest()
    ref, view = guest.table.backends.offer()
    assert map_it(guest, ref, GNTMAP_host_map | GNTMAP_readonly).status == GrantStatus.okay
    # As in the physical address space of a real guest, where a mapped frame is one like any other.
    guest.physmap[Gfn(64)] = guest.granted[Gfn(64)][0]
    guest.write_entry(20, GTF_permit_access, 0, 64)
    guest.write_entry(21, GTF_permit_access, DOMID, 64)
    for use in (
        lambda: guest.table.map(20, 0, False),
        lambda: guest.table.copy_window(20, 0, True, 0, 10),
    ):
        with pytest.raises(GrantError) as refused:
            use()
        assert refused.value.status == GrantStatus.bad_page
    theirs, mapped = GnttabCopyPtr(21, DOMID, 0), GnttabCopyPtr(64, DOMID_SELF, 0)
    assert copy(guest, OWN, theirs, GNTCOPY_dest_gref) == GrantStatus.bad_page
    assert copy(guest, OWN, mapped, 0) == GrantStatus.bad_page
    assert copy(guest, mapped, OWN, 0) == GrantStatus.bad_page
    assert bytes(view) == bytes(PAGE_SIZE)
