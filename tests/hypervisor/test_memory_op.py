"""memory_op: batches of every length, what it costs, and that no frame comes into two hands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from small_domain import ARGUMENT, DOMID, LIST, RAM_FRAMES, SmallDomain

from xenolith.abi.errno import Errno
from xenolith.abi.grant_table import (
    GNTTAB_MAP_GRANT_REF,
    GNTTAB_UNMAP_GRANT_REF,
    GNTMAP_host_map,
    GNTMAP_readonly,
    GnttabMapGrantRef,
    GnttabUnmapGrantRef,
    GrantStatus,
    GrantTableOp,
)
from xenolith.abi.memory import (
    E820_ENTRY,
    XEN_ADD_TO_PHYSMAP,
    XEN_ADD_TO_PHYSMAP_BATCH,
    XEN_FOREIGN_MEMORY_MAP,
    XEN_MEMORY_DOMAIN,
    XEN_MEMORY_MAP,
    XEN_MEMORY_RESERVATION,
    XEN_REMOVE_FROM_PHYSMAP,
    E820Entry,
    MapSpace,
    MemoryOp,
    XenAddToPhysmap,
    XenAddToPhysmapBatch,
    XenForeignMemoryMap,
    XenMemoryDomain,
    XenMemoryMap,
    XenMemoryReservation,
    XenRemoveFromPhysmap,
)
from xenolith.abi.xen import DOMID_SELF, Hypercall
from xenolith.hypervisor.domain_memory import XEN_FRAMES
from xenolith.machine.address import PAGE_SIZE, Gfn

FIRST = 256
"""The first guest frame that the tests give away; what is below they need."""
NOWHERE = (1 << 64) - 4096
ERRORS = LIST + 0x8000
GFNS = LIST + 0x4000


@pytest.fixture
def small() -> Iterator[SmallDomain]:
    domain = SmallDomain(ram=((Gfn(0), RAM_FRAMES), (Gfn(4096), 1024)))
    yield domain
    domain.close()


def reservation(
    small: SmallDomain,
    operation: MemoryOp,
    gfns: Iterable[int],
    order: int = 0,
    domid: int = DOMID_SELF,
) -> tuple[int, int]:
    """The result, and how often the call had to be made again."""
    numbers = list(gfns)
    small.write(LIST, b"".join(gfn.to_bytes(8, "little") for gfn in numbers))
    small.write_struct(
        XEN_MEMORY_RESERVATION, XenMemoryReservation(LIST, len(numbers), order, 0, domid)
    )
    return small.counted_hypercall(Hypercall.memory_op, operation, ARGUMENT)


def decrease(small: SmallDomain, gfns: Iterable[int], order: int = 0) -> int:
    return reservation(small, MemoryOp.decrease_reservation, gfns, order)[0]


def populate(small: SmallDomain, gfns: Iterable[int], order: int = 0) -> int:
    return reservation(small, MemoryOp.populate_physmap, gfns, order)[0]


def about(small: SmallDomain, operation: MemoryOp) -> int:
    small.write_struct(XEN_MEMORY_DOMAIN, XenMemoryDomain(DOMID_SELF))
    return small.hypercall(Hypercall.memory_op, operation, ARGUMENT)


def add(small: SmallDomain, space: int, index: int, gfn: int, size: int = 0) -> int:
    small.write_struct(XEN_ADD_TO_PHYSMAP, XenAddToPhysmap(DOMID_SELF, size, space, index, gfn))
    return small.hypercall(Hypercall.memory_op, MemoryOp.add_to_physmap, ARGUMENT)


def remove(small: SmallDomain, gfn: int) -> int:
    small.write_struct(XEN_REMOVE_FROM_PHYSMAP, XenRemoveFromPhysmap(DOMID_SELF, gfn))
    return small.hypercall(Hypercall.memory_op, MemoryOp.remove_from_physmap, ARGUMENT)


def map_own_grant(
    small: SmallDomain, ref: int, gfn: int, at: int, flags: int = 0
) -> tuple[int, int]:
    """Grant a frame to the domain itself and map it; status and handle."""
    small.domain.grants.seed(ref, DOMID, Gfn(gfn))
    op = GnttabMapGrantRef(at * PAGE_SIZE, GNTMAP_host_map | flags, ref, DOMID, 0, 0, 0)
    small.write_struct(GNTTAB_MAP_GRANT_REF, op)
    assert small.hypercall(Hypercall.grant_table_op, GrantTableOp.map_grant_ref, ARGUMENT, 1) == 0
    done = small.read_struct(GNTTAB_MAP_GRANT_REF)
    return done.status, done.handle


def unmap_own_grant(small: SmallDomain, handle: int, at: int) -> int:
    small.write_struct(GNTTAB_UNMAP_GRANT_REF, GnttabUnmapGrantRef(at * PAGE_SIZE, 0, handle, 0))
    small.hypercall(Hypercall.grant_table_op, GrantTableOp.unmap_grant_ref, ARGUMENT, 1)
    return small.read_struct(GNTTAB_UNMAP_GRANT_REF).status


class TestReservations:
    @pytest.mark.parametrize(("count", "continuations"), [(1, 0), (512, 0), (513, 1), (700, 1)])
    def test_ballooning_out_and_in_again(
        self, small: SmallDomain, count: int, continuations: int
    ) -> None:
        gfns = range(FIRST, FIRST + count)
        held = about(small, MemoryOp.current_reservation)
        small.write(gfns[-1] * PAGE_SIZE, b"secret")
        assert reservation(small, MemoryOp.decrease_reservation, gfns) == (count, continuations)
        assert about(small, MemoryOp.current_reservation) == held - count
        assert not any(small.gfn_is_ram(gfn) for gfn in gfns)
        assert reservation(small, MemoryOp.populate_physmap, gfns) == (count, continuations)
        assert about(small, MemoryOp.current_reservation) == held
        assert small.read(gfns[-1] * PAGE_SIZE, 6) == bytes(6)

    def test_large_extents(self, small: SmallDomain) -> None:
        extents = [4096, 4096 + 512]
        assert reservation(small, MemoryOp.decrease_reservation, extents, order=9) == (2, 1)
        assert not any(small.gfn_is_ram(gfn) for gfn in range(4096, 5120))
        assert reservation(small, MemoryOp.populate_physmap, extents, order=9) == (2, 1)
        assert all(small.gfn_is_ram(gfn) for gfn in range(4096, 5120))

    @pytest.mark.parametrize("order", [10, 31, 63, 0xFFFFFFFF])
    def test_extents_that_are_too_large_are_not_begun(self, small: SmallDomain, order: int) -> None:
        assert decrease(small, [FIRST], order) == 0
        assert small.gfn_is_ram(FIRST)

    def test_a_list_is_done_up_to_the_first_that_cannot_be(self, small: SmallDomain) -> None:
        assert decrease(small, [FIRST, FIRST + 1, 3000, FIRST + 2]) == 2
        assert small.gfn_is_ram(FIRST + 2)
        assert populate(small, [FIRST, 1 << 40, FIRST + 1]) == 1
        assert not small.gfn_is_ram(FIRST + 1)

    def test_what_fails_in_a_later_batch_counts_the_earlier_ones(self, small: SmallDomain) -> None:
        gfns = [*range(FIRST, FIRST + 600), 3000]
        assert decrease(small, gfns) == 600

    def test_no_more_than_the_allowance(self, small: SmallDomain) -> None:
        small.domain.max_pages -= 1
        decrease(small, [FIRST, FIRST + 1])
        assert populate(small, [FIRST, FIRST + 1]) == 1

    def test_an_extent_that_does_not_fit_leaves_nothing_behind(self, small: SmallDomain) -> None:
        decrease(small, [4096], order=9)
        held = about(small, MemoryOp.current_reservation)
        small.domain.max_pages = held + 100
        assert populate(small, [4096], order=9) == 0
        assert about(small, MemoryOp.current_reservation) == held
        assert populate(small, [(1 << 28) - 1], order=1) == 0
        assert about(small, MemoryOp.current_reservation) == held

    def test_populating_what_is_there_costs_nothing(self, small: SmallDomain) -> None:
        held = about(small, MemoryOp.current_reservation)
        small.write(FIRST * PAGE_SIZE, b"kept")
        assert populate(small, [FIRST]) == 1
        assert small.read(FIRST * PAGE_SIZE, 4) == b"kept"
        assert about(small, MemoryOp.current_reservation) == held

    def test_memory_may_come_back_at_other_addresses(self, small: SmallDomain) -> None:
        decrease(small, range(FIRST, FIRST + 4))
        assert populate(small, range(8000, 8004)) == 4
        assert about(small, MemoryOp.maximum_gpfn) == 8003
        small.write(8003 * PAGE_SIZE, b"here")
        assert small.read(8003 * PAGE_SIZE, 4) == b"here"

    @pytest.mark.parametrize(
        "operation", [MemoryOp.populate_physmap, MemoryOp.decrease_reservation]
    )
    def test_nothing_is_done_for_others_or_from_nowhere(
        self, small: SmallDomain, operation: MemoryOp
    ) -> None:
        assert reservation(small, operation, [FIRST], domid=0) == (0, 0)
        assert small.hypercall(Hypercall.memory_op, operation, NOWHERE) == 0
        small.write_struct(
            XEN_MEMORY_RESERVATION, XenMemoryReservation(NOWHERE, 5, 0, 0, DOMID_SELF)
        )
        assert small.hypercall(Hypercall.memory_op, operation, ARGUMENT) == 0
        small.write_struct(
            XEN_MEMORY_RESERVATION, XenMemoryReservation(LIST, (1 << 64) - 1, 0, 0, DOMID_SELF)
        )
        small.write(LIST, b"\xff" * 4096)
        assert small.hypercall(Hypercall.memory_op, operation, ARGUMENT) == 0
        assert small.gfn_is_ram(FIRST)

    def test_a_start_beyond_the_list_is_where_it_ends(self, small: SmallDomain) -> None:
        small.write_struct(XEN_MEMORY_RESERVATION, XenMemoryReservation(LIST, 3, 0, 0, DOMID_SELF))
        command = MemoryOp.decrease_reservation | 77 << 6
        assert small.hypercall(Hypercall.memory_op, command, ARGUMENT) == 77


class TestPhysmap:
    def test_shared_info_is_at_one_place(self, small: SmallDomain) -> None:
        held = about(small, MemoryOp.current_reservation)
        assert add(small, MapSpace.shared_info, 0, FIRST) == 0
        assert about(small, MemoryOp.current_reservation) == held - 1
        assert add(small, MapSpace.shared_info, 0, 9000) == 0
        assert not small.gfn_is_ram(FIRST)
        mfn = small.domain.shared_info_mfn
        assert small.read(9000 * PAGE_SIZE, 64) == bytes(small.domain.memory.frame(mfn)[:64])
        assert add(small, MapSpace.shared_info, 1, 9000) == -Errno.EINVAL

    def test_grant_frames_appear_as_the_table_grows(self, small: SmallDomain) -> None:
        for index in range(4):
            assert add(small, MapSpace.grant_table, index, 9000 + index) == 0
        assert [small.domain.p2m.lookup(9000 + n) for n in range(4)] == small.domain.grants.shared
        assert add(small, MapSpace.grant_table, 64, 9100) == -Errno.EINVAL

    def test_a_frame_moves(self, small: SmallDomain) -> None:
        small.write(FIRST * PAGE_SIZE, b"moved")
        assert add(small, MapSpace.gmfn, FIRST, 9000) == 0
        assert not small.gfn_is_ram(FIRST)
        assert small.read(9000 * PAGE_SIZE, 5) == b"moved"
        assert add(small, MapSpace.gmfn, FIRST, 9001) == -Errno.EINVAL

    @pytest.mark.parametrize("count", [3, 600])
    def test_a_range_of_frames_moves(self, small: SmallDomain, count: int) -> None:
        for offset in range(count):
            small.write((FIRST + offset) * PAGE_SIZE, offset.to_bytes(2, "little"))
        assert add(small, MapSpace.gmfn_range, FIRST, 9000, count) == 0
        for offset in range(count):
            assert small.read((9000 + offset) * PAGE_SIZE, 2) == offset.to_bytes(2, "little")

    def test_a_range_that_wraps_around_is_refused(self, small: SmallDomain) -> None:
        assert add(small, MapSpace.gmfn_range, (1 << 64) - 1, 9000, 2) == -Errno.EOVERFLOW
        assert add(small, MapSpace.gmfn_range, FIRST, (1 << 64) - 1, 2) == -Errno.EOVERFLOW

    @pytest.mark.parametrize("gfn", [(1 << 28) - (1 << 18), (1 << 28) - 1, 1 << 28, (1 << 64) - 1])
    def test_nothing_is_beyond_the_address_width(self, small: SmallDomain, gfn: int) -> None:
        assert add(small, MapSpace.shared_info, 0, gfn) == -Errno.EINVAL
        assert add(small, MapSpace.gmfn, FIRST, gfn) == -Errno.EINVAL
        assert populate(small, [gfn]) == 0
        assert small.gfn_is_ram(FIRST)

    def test_the_last_frame_that_there_can_be_is_used(self, small: SmallDomain) -> None:
        last = (1 << 28) - (1 << 18) - 1
        assert add(small, MapSpace.gmfn, FIRST, last) == 0
        assert small.gfn_is_ram(last)

    def test_spaces_that_are_not_served(self, small: SmallDomain) -> None:
        assert add(small, 77, 0, FIRST) == -Errno.ENOSYS

    @pytest.mark.parametrize("space", [MapSpace.gmfn, MapSpace.gmfn_range])
    def test_a_list_waits_for_whoever_else_wants_the_thread(
        self, small: SmallDomain, space: MapSpace
    ) -> None:
        count = 40
        frames = [(FIRST + n).to_bytes(8, "little") for n in range(count)]
        gfns = [(9000 + n).to_bytes(8, "little") for n in range(count)]
        small.write(LIST, b"".join(frames))
        small.write(GFNS, b"".join(gfns))
        if space == MapSpace.gmfn:
            operation = MemoryOp.add_to_physmap_batch
            batch = XenAddToPhysmapBatch(DOMID_SELF, space, count, 0, LIST, GFNS, ERRORS)
            small.write_struct(XEN_ADD_TO_PHYSMAP_BATCH, batch)
        else:
            operation = MemoryOp.add_to_physmap
            asked = XenAddToPhysmap(DOMID_SELF, count, space, FIRST, 9000)
            small.write_struct(XEN_ADD_TO_PHYSMAP, asked)
        small.domain.post(lambda: None)
        result, again = small.counted_hypercall(Hypercall.memory_op, operation, ARGUMENT)
        assert result == 0 and again == count - 1
        assert all(small.gfn_is_ram(9000 + n) for n in range(count))

    @pytest.mark.parametrize("count", [5, 513])
    def test_a_batch_tells_each_error(self, small: SmallDomain, count: int) -> None:
        indices = [FIRST + n for n in range(count)]
        indices[3] = 3000
        small.write(LIST, b"".join(number.to_bytes(8, "little") for number in indices))
        small.write(GFNS, b"".join((9000 + n).to_bytes(8, "little") for n in range(count)))
        small.write_struct(
            XEN_ADD_TO_PHYSMAP_BATCH,
            XenAddToPhysmapBatch(DOMID_SELF, MapSpace.gmfn, count, 0, LIST, GFNS, ERRORS),
        )
        operation = MemoryOp.add_to_physmap_batch
        assert small.hypercall(Hypercall.memory_op, operation, ARGUMENT) == 0
        raw = memoryview(small.read(ERRORS, 4 * count)).cast("i").tolist()
        assert raw == [-Errno.EINVAL if n == 3 else 0 for n in range(count)]
        assert small.gfn_is_ram(9000 + count - 1)

    def test_removing_empties_a_frame(self, small: SmallDomain) -> None:
        assert remove(small, FIRST) == 0
        assert not small.gfn_is_ram(FIRST)
        assert remove(small, FIRST) == -Errno.ENOENT
        assert remove(small, (1 << 64) - 1) == -Errno.ENOENT

    def test_frames_of_others_are_refused(self, small: SmallDomain) -> None:
        for operation, layout, record in (
            (MemoryOp.add_to_physmap, XEN_ADD_TO_PHYSMAP, XenAddToPhysmap(3, 0, 0, 0, FIRST)),
            (MemoryOp.remove_from_physmap, XEN_REMOVE_FROM_PHYSMAP, XenRemoveFromPhysmap(3, FIRST)),
            (MemoryOp.current_reservation, XEN_MEMORY_DOMAIN, XenMemoryDomain(3)),
        ):
            small.write(ARGUMENT, layout.pack(record))  # type: ignore[arg-type]
            assert small.hypercall(Hypercall.memory_op, operation, ARGUMENT) == -Errno.EPERM


class TestGrants:
    """A frame that is in use by a grant is not freed under its user, whatever the guest asks for."""

    def test_a_granted_frame_stays(self, small: SmallDomain) -> None:
        held = about(small, MemoryOp.current_reservation)
        status, handle = map_own_grant(small, 4, FIRST, at=9000)
        assert status == GrantStatus.okay
        small.write(9000 * PAGE_SIZE, b"shared")
        for attempt in (
            decrease(small, [FIRST]),
            decrease(small, [9000]),
        ):
            assert attempt == 0
        for refused in (
            remove(small, FIRST),
            remove(small, 9000),
            add(small, MapSpace.shared_info, 0, FIRST),
            add(small, MapSpace.gmfn, FIRST + 1, 9000),
            add(small, MapSpace.gmfn, 9000, FIRST + 1),
        ):
            assert refused == -Errno.EBUSY
        assert small.read(FIRST * PAGE_SIZE, 6) == b"shared"
        assert about(small, MemoryOp.current_reservation) == held
        assert unmap_own_grant(small, handle, at=9000) == GrantStatus.okay
        assert remove(small, FIRST) == 0
        assert about(small, MemoryOp.current_reservation) == held - 1

    def test_a_frame_cannot_be_mapped_over_itself(self, small: SmallDomain) -> None:
        small.write(FIRST * PAGE_SIZE, b"kept")
        status, _ = map_own_grant(small, 4, FIRST, at=FIRST)
        assert status == GrantStatus.general_error
        assert small.read(FIRST * PAGE_SIZE, 4) == b"kept"

    def test_unmapping_keeps_the_frame(self, small: SmallDomain) -> None:
        held = about(small, MemoryOp.current_reservation)
        small.write(FIRST * PAGE_SIZE, b"kept")
        _, handle = map_own_grant(small, 4, FIRST, at=9000, flags=GNTMAP_readonly)
        assert unmap_own_grant(small, handle, at=9000) == GrantStatus.okay
        assert not small.gfn_is_ram(9000)
        assert small.read(FIRST * PAGE_SIZE, 4) == b"kept"
        assert about(small, MemoryOp.current_reservation) == held


def test_the_memory_map_fills_the_buffer_that_there_is(small: SmallDomain) -> None:
    small.domain.memory_map = tuple(E820Entry(n << 20, 1 << 20, 1) for n in range(3))
    for room, shown in ((10, 3), (3, 3), (2, 2), (0, 0)):
        small.write(LIST, b"\xaa" * 80)
        small.write_struct(XEN_MEMORY_MAP, XenMemoryMap(room, LIST))
        assert small.hypercall(Hypercall.memory_op, MemoryOp.memory_map, ARGUMENT) == 0
        assert small.read_struct(XEN_MEMORY_MAP).nr_entries == shown
        size = shown * E820_ENTRY.size
        assert small.read(LIST, size) == b"".join(
            E820_ENTRY.pack(entry) for entry in small.domain.memory_map[:shown]
        )
        assert small.read(LIST + size, 8) == b"\xaa" * 8


def test_a_domain_changes_its_own_memory_map(small: SmallDomain) -> None:
    entries = [E820Entry(0, 1 << 20, 1), E820Entry(1 << 20, 4096, 2)]
    small.write(LIST, b"".join(E820_ENTRY.pack(entry) for entry in entries))
    small.write_struct(
        XEN_FOREIGN_MEMORY_MAP, XenForeignMemoryMap(DOMID_SELF, XenMemoryMap(2, LIST))
    )
    assert small.hypercall(Hypercall.memory_op, MemoryOp.set_memory_map, ARGUMENT) == 0
    assert list(small.domain.memory_map) == entries


@pytest.mark.parametrize(
    ("domid", "count", "buffer", "errno"),
    [
        (9, 2, LIST, Errno.EPERM),
        (DOMID_SELF, 1025, LIST, Errno.EINVAL),
        (DOMID_SELF, 2, 1 << 40, Errno.EFAULT),
    ],
)
def test_memory_maps_that_cannot_be_set(
    small: SmallDomain, domid: int, count: int, buffer: int, errno: Errno
) -> None:
    asked = XenForeignMemoryMap(domid, XenMemoryMap(count, buffer))
    small.write_struct(XEN_FOREIGN_MEMORY_MAP, asked)
    assert small.hypercall(Hypercall.memory_op, MemoryOp.set_memory_map, ARGUMENT) == -errno
    assert small.domain.memory_map == ()


def test_a_domain_without_a_memory_map_says_so(small: SmallDomain) -> None:
    small.write_struct(XEN_MEMORY_MAP, XenMemoryMap(3, LIST))
    assert small.hypercall(Hypercall.memory_op, MemoryOp.memory_map, ARGUMENT) == -Errno.ENOSYS


def test_what_a_domain_is_told_about_its_memory(small: SmallDomain) -> None:
    assert about(small, MemoryOp.current_reservation) == RAM_FRAMES + 1024
    assert about(small, MemoryOp.maximum_reservation) == RAM_FRAMES + 1024
    assert about(small, MemoryOp.maximum_gpfn) == 5119
    assert about(small, MemoryOp.maximum_ram_page) == RAM_FRAMES + 1024 + XEN_FRAMES - 1


def test_there_are_no_other_operations(small: SmallDomain) -> None:
    assert small.hypercall(Hypercall.memory_op, 63, ARGUMENT) == -Errno.ENOSYS
    assert small.hypercall(Hypercall.memory_op, MemoryOp.exchange, ARGUMENT) == -Errno.ENOSYS
