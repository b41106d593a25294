"""The account of a vCPU's time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xenolith.abi.vcpu import VCPU_RUNSTATE_INFO, Runstate
from xenolith.hypervisor.runstate import RunstateAccount

CHANGES = st.lists(
    st.tuples(st.integers(0, 10**10), st.sampled_from(Runstate), st.integers(0, 10**9)),
    max_size=30,
)


@given(CHANGES, st.integers(0, 10**9))
def test_the_times_of_all_states_add_up_to_the_time_that_has_passed(
    changes: list[tuple[int, Runstate, int]], later: int
) -> None:
    account = RunstateAccount(1000)
    now = 1000
    for elapsed, state, stolen in changes:
        now += elapsed
        account.change(state, now)
        account.account_stolen(stolen)
    info = account.info(now + later)
    assert sum(info.time) == now + later - 1000
    assert min(info.time) >= 0
    assert (info.state, info.state_entry_time) == (account.state, now if changes else 1000)


def test_time_in_the_present_state_counts_when_asked() -> None:
    account = RunstateAccount(0)
    account.change(Runstate.running, 10)
    info = account.info(25)
    assert info.time[Runstate.running] == 15
    assert info.time[Runstate.offline] == 10
    assert account.running_time(25) == 15


def test_stolen_time_was_not_run() -> None:
    account = RunstateAccount(0)
    account.change(Runstate.running, 0)
    account.change(Runstate.runnable, 100)
    account.account_stolen(30)
    info = account.info(100)
    assert info.time[Runstate.running] == 70
    assert info.time[Runstate.runnable] == 30
    account.account_stolen(1000)
    assert account.running_time(100) == 0


@given(st.integers(0, VCPU_RUNSTATE_INFO.size))
def test_an_area_over_the_edge_of_a_page_is_written_in_pieces(split: int) -> None:
    account = RunstateAccount(0)
    first, second = bytearray(split + 5), bytearray(VCPU_RUNSTATE_INFO.size - split + 5)
    pieces = [memoryview(first)[5:], memoryview(second)[:-5]]
    account.register([piece for piece in pieces if len(piece)])
    account.change(Runstate.runnable, 7)
    account.change(Runstate.running, 9)
    written = VCPU_RUNSTATE_INFO.unpack(bytes(first[5:]) + bytes(second[:-5]))
    assert (written.state, written.state_entry_time) == (Runstate.running, 9)
    assert written.time == (0, 2, 0, 7)
    assert first[:5] == bytes(5)
    assert second[-5:] == bytes(5)


def test_an_area_is_filled_when_it_is_registered_and_left_alone_afterwards() -> None:
    account = RunstateAccount(0)
    account.change(Runstate.running, 3)
    area = bytearray(VCPU_RUNSTATE_INFO.size)
    account.register([memoryview(area)])
    assert VCPU_RUNSTATE_INFO.unpack(area).state == Runstate.running
    account.register([])
    account.change(Runstate.blocked, 5)
    assert VCPU_RUNSTATE_INFO.unpack(area).state == Runstate.running


def test_the_observer_hears_each_state_and_the_time_run_so_far() -> None:
    heard: list[tuple[Runstate, int]] = []
    account = RunstateAccount(0)
    account.observer = lambda state, ran: heard.append((state, ran))
    account.change(Runstate.running, 10)
    account.change(Runstate.blocked, 25)
    account.change(Runstate.running, 30)
    account.change(Runstate.offline, 31)
    assert heard == [
        (Runstate.running, 0),
        (Runstate.blocked, 15),
        (Runstate.running, 15),
        (Runstate.offline, 16),
    ]
