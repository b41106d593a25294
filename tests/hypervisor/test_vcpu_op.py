"""vcpu_op and set_timer_op as Xen 4.17 answers them, without guest code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_domain import ARGUMENT, DATA, SmallDomain

from xenolith.abi.errno import Errno
from xenolith.abi.sched import ShutdownReason
from xenolith.abi.vcpu import (
    VCPU_REGISTER_RUNSTATE_MEMORY_AREA,
    VCPU_REGISTER_TIME_MEMORY_AREA,
    VCPU_REGISTER_VCPU_INFO,
    VCPU_RUNSTATE_INFO,
    VCPU_SET_PERIODIC_TIMER,
    VCPU_SET_SINGLESHOT_TIMER,
    Runstate,
    VCPU_SSHOTTMR_future,
    VcpuOp,
    VcpuRegisterRunstateMemoryArea,
    VcpuRegisterTimeMemoryArea,
    VcpuRegisterVcpuInfo,
    VcpuSetPeriodicTimer,
    VcpuSetSingleshotTimer,
)
from xenolith.abi.xen import VCPU_INFO, VCPU_TIME_INFO, Hypercall, Virq
from xenolith.engine.hvm import CpuState
from xenolith.machine.address import PAGE_SIZE

MILLISECOND = 1_000_000
FAR_AWAY = 1 << 62


class TimedDomain(SmallDomain):
    """Its system time is set by hand, and it counts the timer interrupts of vCPU 0."""

    def __init__(self) -> None:
        super().__init__(vcpus=2)
        self.now = 1000 * MILLISECOND
        self.domain.clock.now = lambda: self.now  # type: ignore[method-assign]
        for vcpu in self.domain.vcpus:
            vcpu.timers._now = lambda: self.now
        self.port = self.domain.event_channels.bind_virq(Virq.TIMER, 0)

    def pass_time(self, nanoseconds: int) -> None:
        self.now += nanoseconds
        self.domain.scheduler.timers.expire(self.now)

    def ticked(self) -> bool:
        """Whether a timer interrupt has become pending; takes it off."""
        delivery = self.domain.event_channels._delivery
        channel = self.domain.event_channels.status(self.port)
        pending = delivery.is_pending(channel)
        delivery.clear_pending(channel)
        return pending

    def vcpu_op(self, operation: VcpuOp, vcpu_id: int = 0) -> int:
        return self.hypercall(Hypercall.vcpu_op, operation, vcpu_id, ARGUMENT)

    def set_singleshot(self, deadline: int, flags: int = 0, vcpu_id: int = 0) -> int:
        self.write_struct(VCPU_SET_SINGLESHOT_TIMER, VcpuSetSingleshotTimer(deadline, flags))
        return self.vcpu_op(VcpuOp.set_singleshot_timer, vcpu_id)

    def set_periodic(self, period: int) -> int:
        self.write_struct(VCPU_SET_PERIODIC_TIMER, VcpuSetPeriodicTimer(period))
        return self.vcpu_op(VcpuOp.set_periodic_timer)

    def set_timer(self, deadline: int) -> int:
        return self.hypercall(Hypercall.set_timer_op, deadline)


@pytest.fixture
def timed() -> Iterator[TimedDomain]:
    domain = TimedDomain()
    yield domain
    domain.close()


def test_a_one_shot_timer_ticks_once(timed: TimedDomain) -> None:
    assert timed.set_singleshot(timed.now + 5 * MILLISECOND) == 0
    timed.pass_time(4 * MILLISECOND)
    assert not timed.ticked()
    timed.pass_time(1 * MILLISECOND)
    assert timed.ticked()
    timed.pass_time(1000 * MILLISECOND)
    assert not timed.ticked()


def test_a_one_shot_timer_can_be_moved_and_stopped(timed: TimedDomain) -> None:
    timed.set_singleshot(timed.now + 5 * MILLISECOND)
    timed.set_singleshot(timed.now + 10 * MILLISECOND)
    timed.pass_time(9 * MILLISECOND)
    assert not timed.ticked()
    assert timed.vcpu_op(VcpuOp.stop_singleshot_timer) == 0
    timed.pass_time(FAR_AWAY)
    assert not timed.ticked()


def test_a_time_that_has_passed_ticks_at_once_unless_the_caller_wants_to_know(
    timed: TimedDomain,
) -> None:
    assert timed.set_singleshot(timed.now - 1) == 0
    assert timed.ticked()
    assert timed.set_singleshot(timed.now - 1, VCPU_SSHOTTMR_future) == -Errno.ETIME
    assert not timed.ticked()
    assert timed.set_singleshot(timed.now + 1, VCPU_SSHOTTMR_future) == 0


def test_a_negative_time_has_passed(timed: TimedDomain) -> None:
    assert timed.set_singleshot((1 << 64) - 1) == 0
    assert timed.ticked()


def test_a_periodic_timer_goes_on_until_it_is_stopped(timed: TimedDomain) -> None:
    assert timed.set_periodic(10 * MILLISECOND) == 0
    for _ in range(3):
        timed.pass_time(9 * MILLISECOND)
        assert not timed.ticked()
        timed.pass_time(1 * MILLISECOND)
        assert timed.ticked()
    assert timed.vcpu_op(VcpuOp.stop_periodic_timer) == 0
    timed.pass_time(FAR_AWAY)
    assert not timed.ticked()


@pytest.mark.parametrize("period", [0, MILLISECOND - 1, 1 << 62, (1 << 64) - 1])
def test_a_period_has_bounds(timed: TimedDomain, period: int) -> None:
    assert timed.set_periodic(period) == -Errno.EINVAL


def test_the_two_timers_are_independent(timed: TimedDomain) -> None:
    timed.set_periodic(10 * MILLISECOND)
    timed.set_singleshot(timed.now + 5 * MILLISECOND)
    ticks = []
    for _ in range(4):
        timed.pass_time(5 * MILLISECOND)
        ticks.append(timed.ticked())
    assert ticks == [True, True, False, True]
    timed.set_singleshot(timed.now + 500 * MILLISECOND)
    timed.vcpu_op(VcpuOp.stop_singleshot_timer)
    timed.pass_time(10 * MILLISECOND)
    assert timed.ticked()


def test_a_one_shot_timer_is_its_own_vcpu_s(timed: TimedDomain) -> None:
    assert timed.set_singleshot(timed.now, vcpu_id=1) == -Errno.EINVAL
    assert timed.vcpu_op(VcpuOp.stop_singleshot_timer, 1) == -Errno.EINVAL


def test_set_timer_op_sets_and_stops_the_one_shot_timer(timed: TimedDomain) -> None:
    timed.set_periodic(10 * MILLISECOND)
    assert timed.set_timer(timed.now + 5 * MILLISECOND) == 0
    timed.pass_time(5 * MILLISECOND)
    assert timed.ticked()
    timed.set_timer(timed.now + 1 * MILLISECOND)
    assert timed.set_timer(0) == 0
    timed.pass_time(1 * MILLISECOND)
    assert not timed.ticked()
    timed.pass_time(4 * MILLISECOND)
    assert timed.ticked(), "the periodic timer goes on"


@pytest.mark.parametrize("delay", [1 << 50, 1 << 62])
def test_set_timer_op_with_a_time_far_away_ticks_after_a_tenth_of_a_second(
    timed: TimedDomain, delay: int
) -> None:
    timed.set_timer(timed.now + delay)
    timed.pass_time(99 * MILLISECOND)
    assert not timed.ticked()
    timed.pass_time(1 * MILLISECOND)
    assert timed.ticked()


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["set", "stop", "period", "stop period", "set_timer_op"]),
            st.integers(0, (1 << 64) - 1),
        ),
        max_size=10,
    )
)
def test_no_time_is_too_much_for_the_timers(steps: list[tuple[str, int]]) -> None:
    timed = SHARED
    for step, number in steps:
        match step:
            case "set":
                assert timed.set_singleshot(number) == 0
            case "stop":
                timed.vcpu_op(VcpuOp.stop_singleshot_timer)
            case "period":
                timed.set_periodic(number)
            case "stop period":
                timed.vcpu_op(VcpuOp.stop_periodic_timer)
            case _:
                assert timed.set_timer(number) == 0
        timed.pass_time(1)


def test_there_are_no_other_vcpus_and_operations(timed: TimedDomain) -> None:
    assert timed.vcpu_op(VcpuOp.is_up, 2) == -Errno.ENOENT
    assert timed.hypercall(Hypercall.vcpu_op, 99, 0, ARGUMENT) == -Errno.ENOSYS


def test_a_vcpu_that_has_no_registers_cannot_come_up(timed: TimedDomain) -> None:
    assert timed.vcpu_op(VcpuOp.is_up, 1) == 0
    assert timed.vcpu_op(VcpuOp.up, 1) == -Errno.EINVAL


def test_vcpus_go_down_and_come_up(timed: TimedDomain) -> None:
    for vcpu in timed.domain.vcpus:
        vcpu.start(CpuState())
    assert timed.vcpu_op(VcpuOp.is_up, 1) == 1
    assert timed.vcpu_op(VcpuOp.down, 1) == 0
    assert timed.vcpu_op(VcpuOp.is_up, 1) == 0
    assert timed.vcpu_op(VcpuOp.down, 1) == 0
    assert timed.vcpu_op(VcpuOp.up, 1) == 0
    assert timed.vcpu_op(VcpuOp.is_up, 1) == 1
    assert not timed.events.reasons


def test_the_last_vcpu_stays_up(timed: TimedDomain) -> None:
    timed.domain.vcpus[0].start(CpuState())
    assert timed.vcpu_op(VcpuOp.down, 0) == -Errno.EBUSY
    assert timed.vcpu_op(VcpuOp.is_up, 0) == 1


def test_an_init_of_the_last_vcpu_powers_the_domain_off(timed: TimedDomain) -> None:
    timed.domain.vcpus[0].start(CpuState())
    timed.domain.init(timed.domain.lapics[0])
    assert timed.events.reasons == [ShutdownReason.poweroff]


def test_after_init_a_vcpu_has_no_registers_to_come_up_with(timed: TimedDomain) -> None:
    for vcpu in timed.domain.vcpus:
        vcpu.start(CpuState())
    timed.domain.init(timed.domain.lapics[1])
    assert timed.vcpu_op(VcpuOp.is_up, 1) == 0
    assert timed.vcpu_op(VcpuOp.up, 1) == -Errno.EINVAL
    timed.domain.startup(timed.domain.lapics[1], 0x10)
    assert timed.vcpu_op(VcpuOp.is_up, 1) == 1


def test_a_start_up_ipi_does_nothing_to_a_vcpu_that_runs(timed: TimedDomain) -> None:
    vcpu = timed.domain.vcpus[1]
    state = CpuState(rip=0x1234)
    vcpu.start(state)
    timed.domain.startup(vcpu.lapic, 0x10)
    assert vcpu.engine_vcpu.initial is state  # type: ignore[attr-defined]


def test_the_runstate_area_may_lie_over_the_edge_of_a_page(timed: TimedDomain) -> None:
    address = DATA + PAGE_SIZE - 20
    timed.write_struct(VCPU_REGISTER_RUNSTATE_MEMORY_AREA, VcpuRegisterRunstateMemoryArea(address))
    assert timed.vcpu_op(VcpuOp.register_runstate_memory_area) == 0
    timed.domain.vcpus[0].start(CpuState())
    assert timed.read_struct(VCPU_RUNSTATE_INFO, address).state == Runstate.runnable


def test_an_area_where_there_is_no_memory_is_refused(timed: TimedDomain) -> None:
    nowhere = 1 << 39
    timed.write_struct(VCPU_REGISTER_RUNSTATE_MEMORY_AREA, VcpuRegisterRunstateMemoryArea(nowhere))
    assert timed.vcpu_op(VcpuOp.register_runstate_memory_area) == -Errno.EFAULT
    timed.write_struct(VCPU_REGISTER_TIME_MEMORY_AREA, VcpuRegisterTimeMemoryArea(nowhere))
    assert timed.vcpu_op(VcpuOp.register_vcpu_time_memory_area) == -Errno.EFAULT


def test_a_second_time_area_shows_the_clock(timed: TimedDomain) -> None:
    address = DATA + PAGE_SIZE - 10
    timed.write_struct(VCPU_REGISTER_TIME_MEMORY_AREA, VcpuRegisterTimeMemoryArea(address))
    assert timed.vcpu_op(VcpuOp.register_vcpu_time_memory_area) == 0
    assert timed.read(address, VCPU_TIME_INFO.size) == timed.domain.clock.time_info()


def register_info(timed: TimedDomain, gfn: int, offset: int, vcpu_id: int = 0) -> int:
    timed.write_struct(VCPU_REGISTER_VCPU_INFO, VcpuRegisterVcpuInfo(gfn, offset, 0))
    return timed.vcpu_op(VcpuOp.register_vcpu_info, vcpu_id)


def test_a_vcpu_info_moves_once_and_takes_its_contents_along(timed: TimedDomain) -> None:
    timed.ticked()
    gfn, offset = DATA // PAGE_SIZE, 128
    assert register_info(timed, gfn, offset) == 0
    info = VCPU_INFO.unpack(timed.read(DATA + offset, VCPU_INFO.size))
    assert info.evtchn_upcall_pending == 1, "it is told to look at everything"
    assert info.evtchn_pending_sel == (1 << 64) - 1
    assert info.time.tsc_to_system_mul != 0
    assert register_info(timed, gfn, 256) == -Errno.EINVAL


@pytest.mark.parametrize(
    ("gfn", "offset"),
    [
        (DATA // PAGE_SIZE, PAGE_SIZE - 63),
        (DATA // PAGE_SIZE, 0xFFFFFFFF),
        (DATA // PAGE_SIZE, 4),
        (1 << 40, 0),
        ((1 << 64) - 1, 0),
    ],
)
def test_where_no_vcpu_info_can_be(timed: TimedDomain, gfn: int, offset: int) -> None:
    assert register_info(timed, gfn, offset) == -Errno.EINVAL
    assert register_info(timed, DATA // PAGE_SIZE, PAGE_SIZE - 64) == 0


def test_the_vcpu_info_of_another_is_moved_only_while_that_is_down(timed: TimedDomain) -> None:
    timed.domain.vcpus[1].start(CpuState())
    assert register_info(timed, DATA // PAGE_SIZE, 0, vcpu_id=1) == -Errno.EINVAL
    timed.vcpu_op(VcpuOp.down, 1)
    timed.domain.vcpus[0].start(CpuState())
    timed.vcpu_op(VcpuOp.down, 1)
    assert register_info(timed, DATA // PAGE_SIZE, 0, vcpu_id=1) == 0


SHARED = TimedDomain()
