"""grant_table_op as a guest calls it: each operation, each status, batches."""

from __future__ import annotations

from typing import Any

import pytest
from grant_guest import ARGUMENT, DATA, DOMID, FRAME_LIST, Guest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.grant_table import (
    GNTTAB_COPY,
    GNTTAB_GET_STATUS_FRAMES,
    GNTTAB_GET_VERSION,
    GNTTAB_MAP_GRANT_REF,
    GNTTAB_QUERY_SIZE,
    GNTTAB_SET_VERSION,
    GNTTAB_SETUP_TABLE,
    GNTTAB_SWAP_GRANT_REF,
    GNTTAB_TRANSFER,
    GNTTAB_UNMAP_AND_REPLACE,
    GNTTAB_UNMAP_GRANT_REF,
    GNTCOPY_dest_gref,
    GNTCOPY_source_gref,
    GNTMAP_application_map,
    GNTMAP_contains_pte,
    GNTMAP_device_map,
    GNTMAP_host_map,
    GNTMAP_readonly,
    GnttabCopy,
    GnttabCopyPtr,
    GnttabGetStatusFrames,
    GnttabGetVersion,
    GnttabMapGrantRef,
    GnttabQuerySize,
    GnttabSetupTable,
    GnttabSetVersion,
    GnttabSwapGrantRef,
    GnttabTransfer,
    GnttabUnmapAndReplace,
    GnttabUnmapGrantRef,
    GrantEntryV2,
    GrantStatus,
    GrantTableOp,
    GTF_accept_transfer,
    GTF_permit_access,
    GTF_reading,
    GTF_readonly,
    GTF_sub_page,
    GTF_transitive,
    GTF_writing,
)
from xenolith.abi.xen import DOMID_SELF
from xenolith.hypervisor.grant_table import grant_table_op
from xenolith.hypervisor.guest_access import Continuation
from xenolith.machine.address import PAGE_SIZE, Gfn, GuestVirt, Mfn

OTHER = 9
HOLE = 100
"""A guest frame number at which nothing is."""


def map_ref(
    guest: Guest, ref: int, gfn: int = HOLE, flags: int = GNTMAP_host_map, dom: int = DOMID
) -> GnttabMapGrantRef:
    record = GnttabMapGrantRef(gfn << 12, flags, ref, dom, 99, 0, 0)
    return guest.hypercall(GrantTableOp.map_grant_ref, GNTTAB_MAP_GRANT_REF, record)


def unmap(guest: Guest, handle: int, gfn: int = HOLE) -> int:
    record = GnttabUnmapGrantRef(gfn << 12, 0, handle, 99)
    return guest.hypercall(GrantTableOp.unmap_grant_ref, GNTTAB_UNMAP_GRANT_REF, record).status


def set_version(guest: Guest, version: int) -> int:
    record = GnttabSetVersion(version)
    return guest.hypercall(GrantTableOp.set_version, GNTTAB_SET_VERSION, record).version


def copy(guest: Guest, source: GnttabCopyPtr, dest: GnttabCopyPtr, size: int, flags: int) -> int:
    record = GnttabCopy(source, dest, size, flags, 99)
    return guest.hypercall(GrantTableOp.copy, GNTTAB_COPY, record).status


def listed(guest: Guest, count: int) -> list[int]:
    return memoryview(guest.copy_from(GuestVirt(FRAME_LIST), 8 * count)).cast("Q").tolist()


def test_query_size() -> None:
    guest = Guest(max_frames=4)
    record = GnttabQuerySize(DOMID_SELF, 0, 0, 99)
    cmd = GrantTableOp.query_size
    assert guest.hypercall(cmd, GNTTAB_QUERY_SIZE, record) == (DOMID_SELF, 1, 4, GrantStatus.okay)
    for dom, status in ((OTHER, GrantStatus.bad_domain), (0, GrantStatus.permission_denied)):
        answer = guest.hypercall(cmd, GNTTAB_QUERY_SIZE, record._replace(dom=dom))
        assert answer == (dom, 0, 0, status)


def test_setup_table_grows_and_tells_where_the_frames_are() -> None:
    guest = Guest(max_frames=4)
    guest.physmap[Gfn(HOLE)] = guest.table.shared[0]
    cmd = GrantTableOp.setup_table
    record = GnttabSetupTable(DOMID, 3, 99, FRAME_LIST)
    assert guest.hypercall(cmd, GNTTAB_SETUP_TABLE, record).status == GrantStatus.okay
    assert listed(guest, 3) == [HOLE, 2**64 - 1, 2**64 - 1]
    assert len(guest.table.shared) == 3
    assert guest.table.count == 3 * 512
    for wrong, status in (
        (record._replace(nr_frames=5), GrantStatus.general_error),
        (record._replace(nr_frames=2**32 - 1), GrantStatus.general_error),
        (record._replace(dom=OTHER), GrantStatus.bad_domain),
        (record._replace(dom=0), GrantStatus.permission_denied),
        (record._replace(frame_list=2**48), GrantStatus.bad_virt_addr),
    ):
        assert guest.hypercall(cmd, GNTTAB_SETUP_TABLE, wrong).status == status


def test_a_table_that_cannot_grow_keeps_its_size() -> None:
    guest = Guest(max_frames=4, xen_frames=2)
    record = GnttabSetupTable(DOMID, 4, 99, FRAME_LIST)
    answer = guest.hypercall(GrantTableOp.setup_table, GNTTAB_SETUP_TABLE, record)
    assert answer.status == GrantStatus.general_error
    assert (len(guest.table.shared), len(guest.free)) == (1, 1)


def test_status_frames() -> None:
    guest = Guest(max_frames=9)
    cmd = GrantTableOp.get_status_frames
    record = GnttabGetStatusFrames(1, DOMID_SELF, 99, FRAME_LIST)
    answer = guest.hypercall(cmd, GNTTAB_GET_STATUS_FRAMES, record)
    assert answer.status == GrantStatus.general_error
    set_version(guest, 2)
    guest.physmap[Gfn(HOLE)] = guest.table.status[0]
    answer = guest.hypercall(cmd, GNTTAB_GET_STATUS_FRAMES, record)
    assert (answer.status, listed(guest, 1)) == (GrantStatus.okay, [HOLE])
    guest.table.grow(9)
    assert len(guest.table.status) == 2
    for wrong, status in (
        (record._replace(nr_frames=3), GrantStatus.general_error),
        (record._replace(dom=OTHER), GrantStatus.bad_domain),
        (record._replace(dom=0), GrantStatus.permission_denied),
        (record._replace(frame_list=2**48), GrantStatus.bad_virt_addr),
    ):
        assert guest.hypercall(cmd, GNTTAB_GET_STATUS_FRAMES, wrong).status == status


def test_the_physmap_asks_for_frames_by_index_and_the_table_grows() -> None:
    guest = Guest(max_frames=16)
    assert guest.table.physmap_frame(2) == guest.table.shared[2]
    with pytest.raises(XenError, match="EINVAL"):
        guest.table.physmap_frame(0x80000000)
    guest.table.set_version(2)
    assert guest.table.physmap_frame(0x80000000) == guest.table.status[0]
    assert guest.table.physmap_frame(0x80000001) == guest.table.status[1]
    assert len(guest.table.shared) == 16
    for beyond in (16, 0x80000002, 2**63):
        with pytest.raises(XenError, match="EINVAL"):
            guest.table.physmap_frame(beyond)


def test_versions() -> None:
    guest = Guest()
    record = GnttabGetVersion(DOMID_SELF, 0, 0)
    cmd = GrantTableOp.get_version
    assert guest.hypercall(cmd, GNTTAB_GET_VERSION, record).version == 1
    assert set_version(guest, 2) == 2
    assert guest.hypercall(cmd, GNTTAB_GET_VERSION, record).version == 2
    assert set_version(guest, 2) == 2
    for dom, errno in ((OTHER, "ESRCH"), (0, "EPERM")):
        with pytest.raises(XenError, match=errno):
            guest.hypercall(cmd, GNTTAB_GET_VERSION, record._replace(dom=dom))


@pytest.mark.parametrize(("version", "errno"), [(0, "EINVAL"), (3, "EINVAL"), (2, "ENOSYS")])
def test_a_version_that_cannot_be_set_answers_the_one_in_force(version: int, errno: str) -> None:
    guest = Guest(max_version=1)
    with pytest.raises(XenError, match=errno):
        set_version(guest, version)
    assert guest.copy_from(ARGUMENT, 4) == (1).to_bytes(4, "little")


def test_a_version_change_keeps_reserved_entries_in_use_and_clears_the_rest() -> None:
    guest = Guest()
    free = len(guest.free)
    guest.table.seed(1, 0, Gfn(DATA))
    guest.write_entry(8, GTF_permit_access)
    mapping = guest.table.map(1, 0, readonly=False)
    set_version(guest, 2)
    assert guest.flags(1) == GTF_permit_access
    assert guest.access(1) == GTF_reading | GTF_writing
    assert guest.flags(4) == 0
    set_version(guest, 1)
    assert guest.flags(1) == GTF_permit_access | GTF_reading | GTF_writing
    assert not any(guest.frame(guest.table.shared[0])[64:])
    assert len(guest.free) == free
    mapping.unmap()
    assert guest.flags(1) == GTF_permit_access
    set_version(guest, 2)
    with guest.table.map(1, 0, readonly=True) as again:
        assert len(again.view) == PAGE_SIZE


def test_the_version_cannot_change_while_grants_are_in_use() -> None:
    guest = Guest()
    guest.write_entry(8, GTF_permit_access)
    with guest.table.map(8, 0, readonly=True), pytest.raises(XenError, match="EBUSY"):
        set_version(guest, 2)
    assert set_version(guest, 2) == 2


@pytest.mark.parametrize(
    "entry",
    [
        GrantEntryV2(GTF_permit_access, 0, 0, 0, 1 << 32),
        GrantEntryV2(GTF_transitive, 0, 0, 0, 0),
    ],
)
def test_version_1_must_be_able_to_express_the_reserved_entries(entry: GrantEntryV2) -> None:
    guest = Guest()
    set_version(guest, 2)
    guest.write_entry_v2(7, entry)
    with pytest.raises(XenError, match="ERANGE"):
        set_version(guest, 1)
    guest.write_entry_v2(7, entry._replace(flags=GTF_accept_transfer))
    assert set_version(guest, 1) == 1
    assert guest.flags(7) == 0


def test_version_2_needs_memory_for_its_status_words() -> None:
    guest = Guest(xen_frames=1)
    guest.write_entry(9, GTF_permit_access)
    with pytest.raises(XenError, match="ENOMEM"):
        set_version(guest, 2)
    guest.table.map(9, 0, readonly=False).unmap()


def test_a_guest_maps_its_own_grant() -> None:
    guest = Guest()
    guest.write_entry(9, GTF_permit_access, domid=DOMID)
    answer = map_ref(guest, 9, flags=GNTMAP_host_map | GNTMAP_readonly)
    assert (answer.status, answer.dev_bus_addr) == (GrantStatus.okay, DATA << 12)
    assert guest.granted == {HOLE: (DATA, True)}
    assert guest.access(9) == GTF_reading
    second = map_ref(guest, 9, gfn=HOLE + 1)
    assert guest.granted[Gfn(HOLE + 1)] == (DATA, False)
    assert second.handle != answer.handle
    assert unmap(guest, answer.handle) == GrantStatus.okay
    assert guest.access(9) == GTF_reading | GTF_writing
    assert unmap(guest, answer.handle) == GrantStatus.bad_handle
    assert unmap(guest, second.handle, HOLE) == GrantStatus.general_error
    assert unmap(guest, second.handle, 0) == GrantStatus.okay
    assert guest.access(9) == GTF_reading | GTF_writing, "without an address nothing is undone"
    assert unmap(guest, second.handle, HOLE + 1) == GrantStatus.okay
    assert (guest.granted, guest.access(9)) == ({}, 0)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"flags": 0}, GrantStatus.bad_gntref),
        ({"flags": GNTMAP_readonly}, GrantStatus.bad_gntref),
        ({"flags": GNTMAP_device_map}, GrantStatus.general_error),
        ({"flags": GNTMAP_host_map | GNTMAP_application_map}, GrantStatus.general_error),
        ({"flags": GNTMAP_host_map | GNTMAP_contains_pte}, GrantStatus.general_error),
        ({"flags": GNTMAP_host_map | 1 << 16}, GrantStatus.general_error),
        ({"dom": OTHER}, GrantStatus.bad_domain),
        ({"dom": DOMID_SELF}, GrantStatus.bad_domain),
        ({"dom": 0}, GrantStatus.general_error),
        ({"ref": 512}, GrantStatus.bad_gntref),
        ({"ref": 10}, GrantStatus.general_error),
        ({"gfn": DATA}, GrantStatus.general_error),
        ({"gfn": 1 << 50}, GrantStatus.general_error),
    ],
)
def test_mappings_that_are_refused(changes: dict[str, int], status: GrantStatus) -> None:
    guest = Guest()
    guest.write_entry(9, GTF_permit_access, domid=DOMID)
    arguments = {"ref": 9} | changes
    assert map_ref(guest, **arguments).status == status
    assert (guest.granted, guest.access(9)) == ({}, 0)
    assert map_ref(guest, 9).handle == 0, "no handle was lost"


def test_unmap_and_replace_replaces_nothing_for_an_hvm_domain() -> None:
    guest = Guest()
    guest.write_entry(9, GTF_permit_access, domid=DOMID)
    handle = map_ref(guest, 9).handle

    def replace(gfn: int, new_gfn: int, handle: int) -> int:
        record = GnttabUnmapAndReplace(gfn << 12, new_gfn << 12, handle, 99)
        cmd = GrantTableOp.unmap_and_replace
        return guest.hypercall(cmd, GNTTAB_UNMAP_AND_REPLACE, record).status

    assert replace(HOLE, HOLE + 1, handle) == GrantStatus.general_error
    assert replace(HOLE, 0, handle + 1) == GrantStatus.bad_handle
    assert replace(HOLE, 0, handle) == GrantStatus.okay
    assert guest.granted == {}


OWN_SOURCE = GnttabCopyPtr(DATA, DOMID_SELF, 10)
OWN_DEST = GnttabCopyPtr(DATA + 1, DOMID_SELF, 20)


def test_copy_between_own_frames() -> None:
    guest = Guest()
    guest.frame(Mfn(DATA))[10:15] = b"bytes"
    assert copy(guest, OWN_SOURCE, OWN_DEST, 5, 0) == GrantStatus.okay
    assert bytes(guest.frame(Mfn(DATA + 1))[19:26]) == b"\0bytes\0"


def test_copy_between_grants() -> None:
    guest = Guest()
    guest.write_entry(9, GTF_permit_access | GTF_readonly, domid=DOMID)
    guest.write_entry(10, GTF_permit_access, domid=DOMID, frame=DATA + 1)
    guest.frame(Mfn(DATA))[10:15] = b"bytes"
    both = GNTCOPY_source_gref | GNTCOPY_dest_gref
    source, dest = GnttabCopyPtr(9, DOMID, 10), GnttabCopyPtr(10 | 1 << 40, DOMID_SELF, 20)
    assert copy(guest, source, dest, 5, both) == GrantStatus.okay
    assert bytes(guest.frame(Mfn(DATA + 1))[20:25]) == b"bytes"
    assert (guest.access(9), guest.access(10)) == (0, 0)
    status = copy(guest, dest, source, 5, both)
    assert status == GrantStatus.general_error, "the destination is read-only"
    assert (guest.access(9), guest.access(10)) == (0, 0)


def test_copy_of_overlapping_bytes_of_one_frame() -> None:
    guest = Guest()
    guest.frame(Mfn(DATA))[:8] = b"abcdefgh"
    source = GnttabCopyPtr(DATA, DOMID_SELF, 0)
    assert copy(guest, source, source._replace(offset=2), 6, 0) == GrantStatus.okay
    assert bytes(guest.frame(Mfn(DATA))[:8]) == b"ababcdef"


@pytest.mark.parametrize(
    ("source", "dest", "size", "flags", "status"),
    [
        (OWN_SOURCE._replace(domid=DOMID), OWN_DEST, 5, 0, GrantStatus.permission_denied),
        (OWN_SOURCE, OWN_DEST._replace(domid=0), 5, 0, GrantStatus.permission_denied),
        (GnttabCopyPtr(9, OTHER, 0), OWN_DEST, 5, GNTCOPY_source_gref, GrantStatus.bad_domain),
        (GnttabCopyPtr(9, 0, 0), OWN_DEST, 5, GNTCOPY_source_gref, GrantStatus.general_error),
        (GnttabCopyPtr(9, DOMID, 0), OWN_DEST, 5, GNTCOPY_source_gref, GrantStatus.general_error),
        (GnttabCopyPtr(512, DOMID, 0), OWN_DEST, 5, GNTCOPY_source_gref, GrantStatus.bad_gntref),
        (OWN_SOURCE._replace(u=2**64 - 1), OWN_DEST, 5, 0, GrantStatus.bad_page),
        (OWN_SOURCE, OWN_DEST._replace(u=HOLE), 5, 0, GrantStatus.bad_page),
        (OWN_SOURCE, OWN_DEST, 4096, 0, GrantStatus.bad_copy_arg),
        (OWN_SOURCE._replace(offset=4096), OWN_DEST, 1, 0, GrantStatus.bad_copy_arg),
        (OWN_SOURCE, OWN_DEST._replace(offset=65535), 65535, 0, GrantStatus.bad_copy_arg),
        (OWN_SOURCE._replace(u=HOLE, domid=OTHER), OWN_DEST, 0, 0, GrantStatus.okay),
    ],
)
def test_copies_that_are_refused(
    source: GnttabCopyPtr, dest: GnttabCopyPtr, size: int, flags: int, status: GrantStatus
) -> None:
    guest = Guest()
    assert copy(guest, source, dest, size, flags) == status


@pytest.mark.parametrize(
    ("offset", "size", "status"),
    [
        (100, 50, GrantStatus.okay),
        (120, 30, GrantStatus.okay),
        (99, 10, GrantStatus.general_error),
        (120, 31, GrantStatus.general_error),
        (150, 1, GrantStatus.general_error),
    ],
)
def test_copy_stays_within_a_granted_part_of_a_page(
    offset: int, size: int, status: GrantStatus
) -> None:
    guest = Guest()
    set_version(guest, 2)
    entry = GrantEntryV2(GTF_permit_access | GTF_sub_page, DOMID, 100, 50, DATA)
    guest.write_entry_v2(9, entry)
    source = GnttabCopyPtr(9, DOMID, offset)
    assert copy(guest, source, OWN_DEST, size, GNTCOPY_source_gref) == status
    assert guest.access(9) == 0


def test_a_part_of_a_page_beyond_its_end_reaches_nothing_else() -> None:
    guest = Guest()
    set_version(guest, 2)
    entry = GrantEntryV2(GTF_permit_access | GTF_sub_page, DOMID, 4090, 65535, DATA)
    guest.write_entry_v2(9, entry)
    source = GnttabCopyPtr(9, DOMID, 4090)
    assert copy(guest, source, OWN_DEST, 6, GNTCOPY_source_gref) == GrantStatus.okay
    assert copy(guest, source, OWN_DEST, 7, GNTCOPY_source_gref) == GrantStatus.bad_copy_arg


def test_transitive_grants_lead_nowhere() -> None:
    guest = Guest()
    set_version(guest, 2)
    guest.write_entry_v2(9, GrantEntryV2(GTF_transitive, DOMID, 0, 0, 10))
    source = GnttabCopyPtr(9, DOMID, 0)
    status = copy(guest, source, OWN_DEST, 1, GNTCOPY_source_gref)
    assert status == GrantStatus.general_error


@pytest.mark.parametrize("version", [1, 2])
def test_swap(version: int) -> None:
    guest = Guest(max_frames=16)
    guest.table.grow(16)
    set_version(guest, version)
    far = guest.table.count - 1
    guest.write_entry(9, GTF_permit_access, frame=DATA)
    guest.write_entry(far, GTF_permit_access | GTF_readonly, frame=DATA + 1)

    def swap(ref_a: int, ref_b: int) -> int:
        record = GnttabSwapGrantRef(ref_a, ref_b, 99)
        return guest.hypercall(GrantTableOp.swap_grant_ref, GNTTAB_SWAP_GRANT_REF, record).status

    if version == 2:
        guest.frame(guest.table.status[0])[18] = 0x5A
    assert swap(9, far) == GrantStatus.okay
    assert guest.flags(9) == GTF_permit_access | GTF_readonly
    if version == 2:
        assert (guest.access(9), guest.access(far)) == (0, 0x5A)
    with guest.table.map(far, 0, readonly=False) as mapping:
        mapping.view[0] = 7
        assert guest.frame(Mfn(DATA))[0] == 7
        assert swap(9, far) == GrantStatus.eagain
        assert swap(far, far) == GrantStatus.okay
    assert swap(9, far + 1) == GrantStatus.bad_gntref
    assert swap(far + 1, 9) == GrantStatus.bad_gntref


def test_frames_are_not_given_away() -> None:
    guest = Guest()
    cmd = GrantTableOp.transfer
    record = GnttabTransfer(DATA, 0, 9, 99)
    assert guest.hypercall(cmd, GNTTAB_TRANSFER, record).status == GrantStatus.general_error
    record = record._replace(mfn=HOLE)
    assert guest.hypercall(cmd, GNTTAB_TRANSFER, record).status == GrantStatus.bad_page


@pytest.mark.parametrize(
    ("cmd", "count", "errno"),
    [
        (GrantTableOp.dump_table, 1, "ENOSYS"),
        (GrantTableOp.cache_flush, 1, "ENOSYS"),
        (GrantTableOp.cache_flush | 1 << 12, 1, "ENOSYS"),
        (13, 1, "ENOSYS"),
        (GrantTableOp.copy | 1 << 12, 1, "EINVAL"),
        (GrantTableOp.copy, 2**31, "EINVAL"),
        (GrantTableOp.setup_table, 0, "EINVAL"),
        (GrantTableOp.query_size, 2, "EINVAL"),
        (GrantTableOp.get_status_frames, 2, "EINVAL"),
    ],
)
def test_commands_and_counts_that_are_refused(cmd: int, count: int, errno: str) -> None:
    guest = Guest()
    with pytest.raises(XenError, match=errno):
        grant_table_op(guest.table, guest, cmd, ARGUMENT, count)


def test_every_operation_faults_on_a_bad_address() -> None:
    guest = Guest()
    for cmd in set(GrantTableOp) - {GrantTableOp.dump_table, GrantTableOp.cache_flush}:
        with pytest.raises(XenError, match="EFAULT"):
            grant_table_op(guest.table, guest, cmd, GuestVirt(2**47 - 4), 1)


def test_a_batch_gives_each_operation_its_status_and_pauses_when_long() -> None:
    guest = Guest()
    size = GNTTAB_SWAP_GRANT_REF.size
    for index in range(300):
        record = GnttabSwapGrantRef(9, 9 if index % 2 else 512, 99)
        guest.copy_to(GuestVirt(ARGUMENT + index * size), GNTTAB_SWAP_GRANT_REF.pack(record))
    arguments: tuple[int, ...] = (GrantTableOp.swap_grant_ref, ARGUMENT, 300)
    pauses = 0
    while True:
        cmd, address, count = arguments
        try:
            assert grant_table_op(guest.table, guest, cmd, GuestVirt(address), count) == 0
            break
        except Continuation as more:
            arguments = more.arguments
            pauses += 1
    assert pauses == 2
    statuses = [
        GNTTAB_SWAP_GRANT_REF.unpack(guest.copy_from(GuestVirt(ARGUMENT + index * size), size))[2]
        for index in range(300)
    ]
    assert statuses == [GrantStatus.bad_gntref, GrantStatus.okay] * 150


def test_an_empty_batch() -> None:
    guest = Guest()
    assert grant_table_op(guest.table, guest, GrantTableOp.copy, GuestVirt(2**60), 0) == 0


def test_a_batch_that_runs_off_the_end_of_memory_faults() -> None:
    guest = Guest()
    end = GuestVirt(32 * PAGE_SIZE - GNTTAB_TRANSFER.size)
    with pytest.raises(XenError) as caught:
        grant_table_op(guest.table, guest, GrantTableOp.transfer, end, 2)
    assert caught.value.errno is Errno.EFAULT
    assert GNTTAB_TRANSFER.unpack(guest.copy_from(end, GNTTAB_TRANSFER.size)).status < 0


SMALL = st.sampled_from([0, 1, 2, 3, 8, 9, DATA, DOMID, DOMID_SELF, HOLE, 512, FRAME_LIST])
BYTES = st.lists(
    SMALL.map(lambda value: value.to_bytes(2, "little") + bytes(2))
    | st.binary(min_size=4, max_size=4),
    min_size=10,
    max_size=10,
).map(b"".join)
CALLS = st.lists(st.tuples(st.integers(0, 13), BYTES, st.integers(0, 2)), max_size=20)
ENTRIES = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 511), SMALL, SMALL), max_size=10)


@given(CALLS, ENTRIES)
def test_whatever_the_arguments_the_answer_is_zero_or_an_errno(
    calls: list[tuple[int, bytes, int]], entries: list[tuple[int, int, int, int]]
) -> None:
    guest = Guest()
    for cmd, image, count in calls:
        for ref, flags, domid, frame in entries:
            guest.write_entry(ref, flags, domid, frame)
        guest.copy_to(ARGUMENT, image * 2)
        try:
            result: Any = grant_table_op(guest.table, guest, cmd, ARGUMENT, count)
        except XenError:
            continue
        assert result == 0
