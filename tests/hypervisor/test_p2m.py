"""The physmap against a model: what is where, what it costs, and that no frame is in two hands."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from xenolith.abi.errno import Errno, XenError
from xenolith.hypervisor.p2m import P2m, RamExtent
from xenolith.machine.address import PAGE_SIZE, Gfn, GuestPhys, Mfn
from xenolith.machine.memory import MachineMemory

RAM = [RamExtent(Gfn(0), Mfn(0), 10), RamExtent(Gfn(16), Mfn(10), 6)]
RAM_FRAMES = 16
XEN_FRAMES = 4
GFNS = st.integers(0, 25)
XEN = st.integers(RAM_FRAMES, RAM_FRAMES + XEN_FRAMES - 1)


class Mapping:
    """What the engine was told: the guest's view."""

    def __init__(self) -> None:
        self.frames: dict[int, int] = {}

    def map(self, gfn: Gfn, mfn: Mfn, count: int = 1) -> None:
        for offset in range(count):
            self.frames[gfn + offset] = mfn + offset

    def unmap(self, gfn: Gfn, count: int = 1) -> None:
        for offset in range(count):
            self.frames.pop(gfn + offset, None)


class Physmap:
    def __init__(self, ram: list[RamExtent] = RAM) -> None:
        self.memory = MachineMemory(RAM_FRAMES + XEN_FRAMES)
        self.mapping = Mapping()
        self.p2m = P2m(self.memory, self.mapping, ram)
        self.told: list[int] = []
        self.p2m.on_populated = self.told.append
        self.pinned: set[int] = set()
        self.p2m.is_pinned = self.pinned.__contains__

    def refused(self, errno: Errno, function: Callable[..., object], *arguments: int) -> bool:
        try:
            function(*arguments)
        except XenError as error:
            assert error.errno == errno
            return True
        return False


class P2mAgainstAModel(RuleBasedStateMachine):
    """``model`` is gfn to mfn; ``grants`` those of its gfns where a grant is mapped."""

    def __init__(self) -> None:
        super().__init__()
        self.physmap = Physmap()
        self.p2m = self.physmap.p2m
        self.memory = self.physmap.memory
        self.model = {e.gfn + n: e.mfn + n for e in RAM for n in range(e.count)}
        self.grants: dict[int, int] = {}
        for mfn in range(RAM_FRAMES + XEN_FRAMES):
            self.memory.write(mfn * PAGE_SIZE, bytes([mfn + 1]))

    def is_busy(self, gfn: int) -> bool:
        return gfn in self.grants or self.model.get(gfn) in self.grants.values()

    def used(self) -> set[int]:
        return {mfn for gfn, mfn in self.model.items() if gfn not in self.grants}

    @rule(gfn=GFNS)
    def remove(self, gfn: int) -> None:
        if self.is_busy(gfn):
            assert self.physmap.refused(Errno.EBUSY, self.p2m.remove, gfn)
            return
        mfn = self.model.pop(gfn, None)
        assert self.p2m.remove(Gfn(gfn)) == (mfn is not None)
        if mfn is not None and mfn < RAM_FRAMES:
            assert self.memory.read(mfn * PAGE_SIZE, 1) == b"\0"

    @rule(gfn=GFNS)
    def populate(self, gfn: int) -> None:
        before = self.model.get(gfn)
        free = set(range(RAM_FRAMES)) - self.used()
        assert self.p2m.populate(range(gfn, gfn + 1)) == (before is not None or bool(free))
        after = self.p2m.lookup(gfn)
        if before is not None or not free:
            assert after == before
            return
        assert after in free
        self.model[gfn] = after
        assert self.memory.read(after * PAGE_SIZE, PAGE_SIZE) == bytes(PAGE_SIZE)
        self.memory.write(after * PAGE_SIZE, b"\xff")

    @rule(gfn=GFNS, mfn=XEN)
    def place(self, gfn: int, mfn: int) -> None:
        if self.is_busy(gfn):
            assert self.physmap.refused(Errno.EBUSY, self.p2m.place, gfn, mfn)
            return
        self.p2m.place(Gfn(gfn), Mfn(mfn))
        for other in [g for g, m in self.model.items() if m == mfn]:
            del self.model[other]
        self.model[gfn] = mfn

    @rule(source=GFNS, to=GFNS)
    def move(self, source: int, to: int) -> None:
        if source not in self.model:
            assert self.physmap.refused(Errno.EINVAL, self.p2m.move, source, to)
            return
        if source in self.grants or (source != to and self.is_busy(to)):
            assert self.physmap.refused(Errno.EBUSY, self.p2m.move, source, to)
            return
        self.p2m.move(Gfn(source), Gfn(to))
        self.model[to] = self.model.pop(source)

    @rule(gfn=GFNS, granted=GFNS)
    def map_grant(self, gfn: int, granted: int) -> None:
        """As the grant table does: a granted frame is pinned before it is mapped, and stays so."""
        mfn = self.model.get(granted)
        if mfn is None or mfn >= RAM_FRAMES:
            return
        self.physmap.pinned.add(mfn)
        if self.is_busy(gfn) or self.model.get(gfn) == mfn:
            assert self.physmap.refused(Errno.EBUSY, self.p2m.map_grant, gfn, mfn)
        else:
            self.p2m.map_grant(Gfn(gfn), Mfn(mfn))
            self.model[gfn] = mfn
            self.grants[gfn] = mfn
        if mfn not in self.grants.values():
            self.physmap.pinned.discard(mfn)

    @rule(gfn=GFNS, mfn=st.integers(0, RAM_FRAMES - 1))
    def unmap_grant(self, gfn: int, mfn: int) -> None:
        if self.grants.get(gfn) != mfn:
            assert self.physmap.refused(Errno.EINVAL, self.p2m.unmap_grant, gfn, mfn)
            return
        self.p2m.unmap_grant(Gfn(gfn), Mfn(mfn))
        del self.model[gfn], self.grants[gfn]
        if mfn not in self.grants.values():
            self.physmap.pinned.discard(mfn)

    @invariant()
    def every_lookup_is_the_model_s(self) -> None:
        for gfn in range(26):
            assert self.p2m.lookup(gfn) == self.model.get(gfn)

    @invariant()
    def the_guest_sees_the_model(self) -> None:
        assert self.physmap.mapping.frames == self.model

    @invariant()
    def no_frame_is_in_two_places_but_by_grants(self) -> None:
        places = [mfn for gfn, mfn in self.model.items() if gfn not in self.grants]
        assert len(places) == len(set(places))

    @invariant()
    def the_account_is_right(self) -> None:
        assert self.p2m.populated == len([mfn for mfn in self.used() if mfn < RAM_FRAMES])
        assert (self.physmap.told or [RAM_FRAMES])[-1] == self.p2m.populated

    @invariant()
    def the_hypervisor_s_frames_are_found_where_they_are(self) -> None:
        for mfn in range(RAM_FRAMES, RAM_FRAMES + XEN_FRAMES):
            places = [gfn for gfn, other in self.model.items() if other == mfn]
            assert self.p2m.gfn_of_placed(Mfn(mfn)) == (places[0] if places else None)

    @invariant()
    def the_highest_frame_is_known(self) -> None:
        assert self.p2m.max_gfn == max(21, *self.model, 0)


TestP2mAgainstAModel = P2mAgainstAModel.TestCase
TestP2mAgainstAModel.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.mark.parametrize("gfn", [(1 << 28) - 1, 1 << 28, (1 << 64) - 1])
def test_frames_beyond_the_address_width_cannot_be_used(gfn: int) -> None:
    physmap = Physmap()
    for function, *arguments in (
        (physmap.p2m.place, gfn, RAM_FRAMES),
        (lambda number: physmap.p2m.populate(range(number, number + 1)), gfn),
        (physmap.p2m.move, 0, gfn),
        (physmap.p2m.map_grant, gfn, 3),
    ):
        assert physmap.refused(Errno.EINVAL, function, *arguments)
    assert physmap.p2m.lookup(gfn) is None
    assert physmap.p2m.remove(Gfn(gfn)) is False


def test_addresses_within_frames() -> None:
    p2m = Physmap().p2m
    assert p2m.machine_address(GuestPhys(17 * PAGE_SIZE + 5)) == 11 * PAGE_SIZE + 5
    with pytest.raises(XenError) as caught:
        p2m.machine_address(GuestPhys(12 * PAGE_SIZE))
    assert caught.value.errno == Errno.EFAULT


def test_ram_need_not_start_at_frame_0() -> None:
    p2m = Physmap([RamExtent(Gfn(4), Mfn(0), RAM_FRAMES)]).p2m
    assert p2m.lookup(3) is None
    assert p2m.lookup(4) == 0


def test_a_frame_returns_to_its_own_place_if_it_can() -> None:
    """So that a guest that balloons out and in again keeps large mappings."""
    physmap = Physmap()
    for gfn in (2, 5, 8):
        physmap.p2m.remove(Gfn(gfn))
    for gfn in (8, 5, 2):
        physmap.p2m.populate(range(gfn, gfn + 1))
        assert physmap.p2m.lookup(gfn) == gfn
