"""The scheduler with the real engine: posts, pauses, slices, and that a domain at rest costs nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
from small_domain import (
    CODE,
    DATA,
    HALT_FOR_EVER,
    SPIN,
    SmallDomain,
    count_at,
    wait_until,
)

from xenolith.abi.sched import ShutdownReason
from xenolith.abi.vcpu import Runstate
from xenolith.engine.hvm import EngineError
from xenolith.hypervisor.hvm.vcpu import HvmVcpu
from xenolith.machine.address import PAGE_SIZE

MILLISECOND = 1_000_000
PROMPT_S = 0.25
"""Far above what a kick takes, far below any timer that could come to the rescue."""


@pytest.fixture
def alone() -> Iterator[SmallDomain]:
    domain = SmallDomain(vcpus=1)
    yield domain
    domain.close()


@pytest.fixture
def pair() -> Iterator[SmallDomain]:
    domain = SmallDomain(vcpus=2)
    yield domain
    domain.close()


@pytest.fixture
def trio() -> Iterator[SmallDomain]:
    domain = SmallDomain(vcpus=3)
    yield domain
    domain.close()


def has_counted_to(small: SmallDomain, number: int) -> bool:
    return small.read64(DATA) >= number


def seconds_until_posted(small: SmallDomain) -> float:
    done = threading.Event()
    start = time.monotonic()
    small.domain.post(done.set)
    assert done.wait(10)
    return time.monotonic() - start


def test_a_post_wakes_an_idle_domain(alone: SmallDomain) -> None:
    with alone.running():
        for _ in range(50):
            assert seconds_until_posted(alone) < PROMPT_S


def test_a_post_interrupts_a_guest_that_never_exits(alone: SmallDomain) -> None:
    alone.start(0, SPIN)
    with alone.running():
        for _ in range(50):
            assert seconds_until_posted(alone) < PROMPT_S


def test_a_post_before_the_thread_runs_is_made(alone: SmallDomain) -> None:
    done = threading.Event()
    alone.domain.post(done.set)
    with alone.running():
        assert done.wait(5)


def test_posts_of_many_threads_are_all_made_and_in_each_thread_s_order(alone: SmallDomain) -> None:
    alone.start(0, SPIN)
    made: list[tuple[int, int]] = []
    expected = [[(thread, number) for number in range(200)] for thread in range(3)]

    def post_all(items: list[tuple[int, int]]) -> None:
        for item in items:
            alone.domain.post(partial(made.append, item))

    with alone.running():
        threads = [threading.Thread(target=post_all, args=(items,)) for items in expected]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        alone.on_hypervisor_thread(lambda: None)
    for number, items in enumerate(expected):
        assert [item for item in made if item[0] == number] == items


def test_a_post_may_post(alone: SmallDomain) -> None:
    done = threading.Event()
    with alone.running():
        alone.domain.post(lambda: alone.domain.post(done.set))
        assert done.wait(5)


def test_the_ring_of_a_post_survives_a_timer_that_is_set_at_the_same_moment(
    alone: SmallDomain,
) -> None:
    """An exit handler that sets a timer arms the alarm anew, perhaps before the ticker has heard it ring."""
    # 1: cpuid; jmp 1b
    vcpu = alone.start(0, b"\x0f\xa2\xeb\xfc")
    domain = alone.domain
    answer = vcpu.cpuid
    far_away = 3600 * 1000 * MILLISECOND
    made: list[float] = []
    posted: list[float] = []

    def cpuid(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        if len(made) == len(posted):
            posted.append(time.monotonic())
            domain.post(lambda: made.append(time.monotonic()))
            timer = domain.scheduler.timers.new(lambda: None)
            timer.arm(domain.clock.now() + far_away - len(posted) * MILLISECOND)
        return answer(leaf, subleaf)

    vcpu.cpuid = cpuid
    with alone.running():
        wait_until(lambda: len(made) > 50)
    assert max(after - before for before, after in zip(posted, made, strict=False)) < PROMPT_S


def test_a_timer_fires_while_the_guest_runs(alone: SmallDomain) -> None:
    alone.start(0, SPIN)
    fired: list[int] = []
    clock = alone.domain.clock

    with alone.running():

        def arm() -> None:
            deadline = clock.now() + 5 * MILLISECOND
            alone.domain.scheduler.timers.new(lambda: fired.append(clock.now() - deadline)).arm(
                deadline
            )

        alone.on_hypervisor_thread(arm)
        wait_until(lambda: bool(fired))
    assert 0 <= fired[0] < 100 * MILLISECOND


def test_a_timer_wakes_an_idle_domain_and_not_early(alone: SmallDomain) -> None:
    fired: list[int] = []
    clock = alone.domain.clock
    deadline = clock.now() + 20 * MILLISECOND
    alone.domain.scheduler.timers.new(lambda: fired.append(clock.now() - deadline)).arm(deadline)
    with alone.running():
        wait_until(lambda: bool(fired))
    assert 0 <= fired[0] < 100 * MILLISECOND


def test_a_timer_beyond_what_the_host_can_wait_for_is_waited_for(alone: SmallDomain) -> None:
    """A guest may set a timer to any 64-bit system time."""
    alone.domain.scheduler.timers.new(lambda: None).arm((1 << 64) - 1)
    with alone.running():
        assert seconds_until_posted(alone) < PROMPT_S
        assert seconds_until_posted(alone) < PROMPT_S


def test_a_paused_domain_stands_still_until_every_pause_is_undone(alone: SmallDomain) -> None:
    alone.start(0, count_at(DATA))
    scheduler = alone.domain.scheduler
    with alone.running():
        wait_until(lambda: alone.read64(DATA) > 0)
        alone.on_hypervisor_thread(scheduler.pause)
        alone.on_hypervisor_thread(scheduler.pause)
        alone.on_hypervisor_thread(scheduler.unpause)
        count = alone.read64(DATA)
        time.sleep(0.02)
        assert alone.read64(DATA) == count
        alone.on_hypervisor_thread(scheduler.unpause)
        wait_until(lambda: alone.read64(DATA) > count)


def test_unpausing_what_is_not_paused_changes_nothing(alone: SmallDomain) -> None:
    alone.start(0, count_at(DATA))
    scheduler = alone.domain.scheduler
    with alone.running():
        alone.on_hypervisor_thread(scheduler.unpause)
        alone.on_hypervisor_thread(scheduler.pause)
        count = alone.read64(DATA)
        time.sleep(0.02)
        assert alone.read64(DATA) == count


def test_a_domain_that_has_shut_down_does_not_run_again_by_unpausing(alone: SmallDomain) -> None:
    alone.start(0, count_at(DATA))
    domain = alone.domain
    with alone.running():
        wait_until(lambda: alone.read64(DATA) > 0)
        alone.on_hypervisor_thread(lambda: domain.shut_down(ShutdownReason.poweroff))
        count = alone.read64(DATA)
        alone.on_hypervisor_thread(domain.scheduler.unpause)
        time.sleep(0.02)
        assert alone.read64(DATA) == count
    assert alone.events.reasons == [ShutdownReason.poweroff]


@pytest.mark.parametrize("code", [None, SPIN, HALT_FOR_EVER], ids=["no vCPU", "runs", "blocked"])
def test_it_stops_from_every_state(alone: SmallDomain, code: bytes | None) -> None:
    if code is not None:
        alone.start(0, code)
    with alone.running():
        time.sleep(0.01)
    assert not [thread for thread in threading.enumerate() if thread.name == "ticker"]


def test_it_stops_while_paused(alone: SmallDomain) -> None:
    alone.start(0, SPIN)
    with alone.running():
        alone.on_hypervisor_thread(alone.domain.scheduler.pause)


@pytest.mark.parametrize("state", ["blocked", "paused", "timer far away"])
def test_a_domain_at_rest_uses_no_cpu(alone: SmallDomain, state: str) -> None:
    alone.start(0, SPIN if state == "paused" else HALT_FOR_EVER)
    scheduler = alone.domain.scheduler
    if state == "timer far away":
        scheduler.timers.new(lambda: None).arm(3600 * 1000 * MILLISECOND)
    with alone.running():
        if state == "paused":
            alone.on_hypervisor_thread(scheduler.pause)
        else:
            wait_until(lambda: alone.domain.vcpus[0].runstate.state == Runstate.blocked)
        time.sleep(0.01)
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.01


def test_a_guest_that_the_engine_gives_up_on_crashes_and_its_domain_still_serves_posts(
    alone: SmallDomain,
) -> None:
    alone.start(0, SPIN)
    with alone.running():

        def spoil() -> None:
            alone.domain.vcpus[0].engine_vcpu = HopelessVcpu()  # type: ignore[assignment]

        alone.on_hypervisor_thread(spoil)
        wait_until(lambda: bool(alone.events.reasons))
        assert alone.events.reasons == [ShutdownReason.crash]
        assert alone.events.lines == ["d7: the guest is beyond help"]
        for _ in range(3):
            assert seconds_until_posted(alone) < PROMPT_S


class HopelessVcpu:
    """The engine's vCPU, as far as the scheduler knows it."""

    def run(self) -> None:
        raise EngineError("the guest is beyond help")


def test_vcpus_that_spin_share_the_cpu_evenly(pair: SmallDomain) -> None:
    for vcpu_id in range(2):
        pair.start(vcpu_id, count_at(DATA + 8 * vcpu_id))
    with pair.running():
        time.sleep(0.2)
    counts = [pair.read64(DATA), pair.read64(DATA + 8)]
    assert min(counts) > 0.3 * max(counts)


def test_a_vcpu_that_is_interrupted_often_does_not_keep_the_cpu(pair: SmallDomain) -> None:
    """Every interruption ends a run of the guest; none may begin a new time slice."""
    for vcpu_id in range(2):
        pair.start(vcpu_id, count_at(DATA + 8 * vcpu_id))
    timers, clock = pair.domain.scheduler.timers, pair.domain.clock
    timer = timers.new(lambda: timer.arm(clock.now() + MILLISECOND // 3))
    timer.arm(0)
    with pair.running():
        time.sleep(0.2)
    counts = [pair.read64(DATA), pair.read64(DATA + 8)]
    assert min(counts) > 0.3 * max(counts)


def test_vcpus_that_wake_each_other_for_ever_leave_time_for_a_third(trio: SmallDomain) -> None:
    """vCPUs 1 and 2 halt and are woken alternately; vCPU 0 counts."""
    trio.start(0, count_at(DATA))
    vcpus = [trio.start(number, b"\xf4\xeb\xfd") for number in (1, 2)]
    scheduler = trio.domain.scheduler

    def wake_other_and_block(vcpu: HvmVcpu, other: HvmVcpu) -> None:
        scheduler.wake(other)
        scheduler.block(vcpu)

    for vcpu, other in (vcpus, reversed(vcpus)):
        vcpu.halt = partial(wake_other_and_block, vcpu, other)  # type: ignore[method-assign]
    with trio.running():
        time.sleep(0.05)
        count = trio.read64(DATA)
        time.sleep(0.1)
        assert trio.read64(DATA) > count


def test_a_woken_vcpu_runs_before_one_that_spins_has_used_its_slice(pair: SmallDomain) -> None:
    pair.start(0, SPIN)
    # 1: sti; hlt; incq DATA; jmp 1b
    code = b"\xfb\xf4\x48\xff\x04\x25" + DATA.to_bytes(4, "little") + b"\xeb\xf4"
    sleeper = pair.start(1, code)
    with pair.running():
        wait_until(lambda: sleeper.runstate.state == Runstate.blocked)
        start = time.monotonic()
        for number in range(20):
            pair.on_hypervisor_thread(sleeper.wake)
            wait_until(partial(has_counted_to, pair, number + 1))
        assert time.monotonic() - start < 20 * 0.02


def test_a_vcpu_is_queued_once_however_often_it_blocks_and_wakes_within_one_exit(
    pair: SmallDomain,
) -> None:
    """A multicall may block, wake itself by an event, and take itself down and up again."""
    pair.start(0, SPIN)
    # 1: cpuid; hlt; jmp 1b
    vcpu = pair.start(1, b"\x0f\xa2\xf4\xeb\xfb")
    scheduler = pair.domain.scheduler
    answer = vcpu.cpuid

    def cpuid(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        for _ in range(3):
            scheduler.block(vcpu)
            scheduler.wake(vcpu)
            scheduler.take_down(vcpu)
            scheduler.bring_up(vcpu)
        scheduler.take_down(vcpu)
        return answer(leaf, subleaf)

    vcpu.cpuid = cpuid
    with pair.running():
        wait_until(lambda: vcpu.runstate.state == Runstate.offline)
        time.sleep(0.02)
        assert vcpu.runstate.state == Runstate.offline


def test_the_code_of_a_vcpu_is_where_the_tests_put_it(pair: SmallDomain) -> None:
    vcpu = pair.start(1, SPIN)
    with pair.running():
        time.sleep(0.01)
    assert vcpu.registers.rip == CODE + PAGE_SIZE
