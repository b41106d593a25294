"""sched_op, HLT and what wakes a vCPU from them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from small_domain import ARGUMENT, DATA, LIST, SPIN, SmallDomain, wait_until

from xenolith.abi.errno import Errno
from xenolith.abi.sched import (
    SCHED_POLL,
    SCHED_SHUTDOWN,
    SCHED_WATCHDOG,
    SchedOp,
    SchedPoll,
    SchedShutdown,
    SchedWatchdog,
    ShutdownReason,
)
from xenolith.abi.vcpu import Runstate
from xenolith.abi.xen import Hypercall
from xenolith.engine.hvm import CpuState

MILLISECOND = 1_000_000
CLI_HLT_COUNT = b"\xfa\xf4\x48\xff\x04\x25" + DATA.to_bytes(4, "little") + SPIN
"""cli; hlt; incq DATA; 1: jmp 1b"""


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


def sched_op(small: SmallDomain, operation: int) -> int:
    return small.hypercall(Hypercall.sched_op, operation, ARGUMENT)


def poll(small: SmallDomain, ports: list[int], timeout: int = 0) -> int:
    small.write(LIST, b"".join(port.to_bytes(4, "little") for port in ports))
    small.write_struct(SCHED_POLL, SchedPoll(LIST, len(ports), timeout))
    return sched_op(small, SchedOp.poll)


def state_of(small: SmallDomain, vcpu_id: int = 0) -> Runstate:
    return small.domain.vcpus[vcpu_id].runstate.state


@pytest.mark.parametrize("reason", ShutdownReason)
def test_shutting_down_for_every_reason(alone: SmallDomain, reason: ShutdownReason) -> None:
    alone.write_struct(SCHED_SHUTDOWN, SchedShutdown(reason))
    assert sched_op(alone, SchedOp.shutdown) == 0
    assert alone.events.reasons == [reason]


def test_a_reason_that_there_is_not_is_a_crash(alone: SmallDomain) -> None:
    alone.write_struct(SCHED_SHUTDOWN, SchedShutdown(77))
    assert sched_op(alone, SchedOp.shutdown) == 0
    assert alone.events.reasons == [ShutdownReason.crash]


def test_the_code_given_before_is_the_one_that_counts(alone: SmallDomain) -> None:
    alone.write_struct(SCHED_SHUTDOWN, SchedShutdown(ShutdownReason.suspend))
    assert sched_op(alone, SchedOp.shutdown_code) == 0
    assert not alone.events.reasons
    alone.write_struct(SCHED_SHUTDOWN, SchedShutdown(ShutdownReason.poweroff))
    sched_op(alone, SchedOp.shutdown)
    assert alone.events.reasons == [ShutdownReason.suspend]


def test_a_domain_shuts_down_once(alone: SmallDomain) -> None:
    for reason in (ShutdownReason.reboot, ShutdownReason.crash):
        alone.write_struct(SCHED_SHUTDOWN, SchedShutdown(reason))
        sched_op(alone, SchedOp.shutdown)
    assert alone.events.reasons == [ShutdownReason.reboot]


def test_what_a_guest_may_not_and_what_there_is_not(alone: SmallDomain) -> None:
    assert sched_op(alone, SchedOp.remote_shutdown) == -Errno.EPERM
    assert sched_op(alone, 99) == -Errno.ENOSYS


def test_a_watchdog_by_hypercall(alone: SmallDomain) -> None:
    alone.write_struct(SCHED_WATCHDOG, SchedWatchdog(0, 1))
    assert sched_op(alone, SchedOp.watchdog) == 1
    alone.domain.scheduler.timers.expire(alone.domain.clock.now() + 2000 * MILLISECOND)
    assert alone.events.reasons == [ShutdownReason.watchdog]


def test_polling_a_pending_port_does_not_sleep(alone: SmallDomain) -> None:
    backend = alone.domain.event_channels.connect_backend(lambda: None)
    alone.domain.vcpus[0].start(CpuState())
    backend.notify()
    assert poll(alone, [backend.port]) == 0
    assert state_of(alone) == Runstate.runnable


def test_polling_sleeps_until_the_port_is_pending(alone: SmallDomain) -> None:
    events = alone.domain.event_channels
    backends = [events.connect_backend(lambda: None) for _ in range(3)]
    alone.domain.vcpus[0].start(CpuState())
    for port in (backends[0].port, backends[1].port, backends[2].port):
        alone.domain.memory.frame(alone.domain.shared_info_mfn)[2560 + port // 8] |= 1 << port % 8
    assert poll(alone, [backends[1].port]) == 0
    assert state_of(alone) == Runstate.blocked
    backends[0].notify()
    assert state_of(alone) == Runstate.blocked
    backends[1].notify()
    assert state_of(alone) == Runstate.runnable


def test_polling_ends_at_its_deadline(alone: SmallDomain) -> None:
    alone.domain.vcpus[0].start(CpuState())
    deadline = alone.domain.clock.now() + 5 * MILLISECOND
    backend = alone.domain.event_channels.connect_backend(lambda: None)
    assert poll(alone, [backend.port], deadline) == 0
    assert state_of(alone) == Runstate.blocked
    alone.domain.scheduler.timers.expire(deadline)
    assert state_of(alone) == Runstate.runnable


def test_polling_with_a_deadline_that_has_passed_does_not_sleep(alone: SmallDomain) -> None:
    alone.domain.vcpus[0].start(CpuState())
    backend = alone.domain.event_channels.connect_backend(lambda: None)
    assert poll(alone, [backend.port], 1) == 0
    assert state_of(alone) == Runstate.runnable


def test_polling_no_port_is_sleeping(alone: SmallDomain) -> None:
    alone.domain.vcpus[0].start(CpuState())
    alone.write_struct(SCHED_POLL, SchedPoll((1 << 64) - 1, 0, alone.domain.clock.now() + 10**9))
    assert sched_op(alone, SchedOp.poll) == 0
    assert state_of(alone) == Runstate.blocked


def test_what_ended_no_poll_does_not_end_the_next_sleep(alone: SmallDomain) -> None:
    """A poll that something else ended leaves a deadline and a port behind; neither is to wake a HLT."""
    vcpu = alone.domain.vcpus[0]
    vcpu.start(CpuState())
    backend = alone.domain.event_channels.connect_backend(lambda: None)
    alone.domain.memory.frame(alone.domain.shared_info_mfn)[2560 + backend.port // 8] |= (
        1 << backend.port % 8
    )
    deadline = alone.domain.clock.now() + 5 * MILLISECOND
    poll(alone, [backend.port], deadline)
    alone.domain.scheduler.wake(vcpu)
    vcpu.block()
    alone.domain.scheduler.timers.expire(deadline)
    assert state_of(alone) == Runstate.blocked
    backend.notify()
    assert state_of(alone) == Runstate.blocked


@pytest.mark.parametrize(
    ("ports", "error"), [([0] * 129, Errno.EINVAL), ([4000], Errno.EINVAL), ([500], Errno.EINVAL)]
)
def test_ports_that_cannot_be_polled(alone: SmallDomain, ports: list[int], error: Errno) -> None:
    alone.domain.vcpus[0].start(CpuState())
    assert poll(alone, ports) == -error
    assert state_of(alone) == Runstate.runnable


def test_halting_with_interrupts_off_powers_off_the_only_vcpu(alone: SmallDomain) -> None:
    alone.start(0, CLI_HLT_COUNT)
    with alone.running():
        wait_until(lambda: bool(alone.events.reasons))
    assert alone.events.reasons == [ShutdownReason.poweroff]
    assert state_of(alone) == Runstate.offline


def test_halting_with_interrupts_off_takes_one_of_several_vcpus_down(pair: SmallDomain) -> None:
    pair.start(0, SPIN)
    pair.start(1, CLI_HLT_COUNT)
    with pair.running():
        wait_until(lambda: state_of(pair, 1) == Runstate.offline)
        pair.on_hypervisor_thread(lambda: pair.domain.lapics[1].raise_vector(0x30))
        assert state_of(pair, 1) == Runstate.offline
    assert not pair.events.reasons
    assert pair.read64(DATA) == 0


def test_an_nmi_wakes_a_vcpu_that_has_halted_with_interrupts_off(pair: SmallDomain) -> None:
    """There is no descriptor for vector 2, which ends in a triple fault: proof enough that it arrived."""
    pair.start(0, SPIN)
    pair.start(1, CLI_HLT_COUNT)
    with pair.running():
        wait_until(lambda: state_of(pair, 1) == Runstate.offline)
        pair.on_hypervisor_thread(pair.domain.lapics[1].nmi)
        wait_until(lambda: bool(pair.events.reasons))
    assert pair.events.reasons == [ShutdownReason.reboot]


def test_an_nmi_from_outside_leaves_a_vcpu_down(pair: SmallDomain) -> None:
    pair.start(0, SPIN)
    pair.start(1, CLI_HLT_COUNT)
    with pair.running():
        wait_until(lambda: state_of(pair, 1) == Runstate.offline)
        pair.on_hypervisor_thread(pair.domain.vcpus[1].nmi)
        assert state_of(pair, 1) == Runstate.offline
    assert not pair.events.reasons


def test_an_nmi_does_not_start_a_vcpu_that_waits_for_a_start_up_ipi(pair: SmallDomain) -> None:
    pair.start(0, SPIN)
    with pair.running():
        pair.on_hypervisor_thread(pair.domain.vcpus[1].nmi)
        assert state_of(pair, 1) == Runstate.offline
    assert not pair.events.reasons
