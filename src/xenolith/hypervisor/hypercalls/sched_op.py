"""sched_op and set_timer_op: yield, block, poll, shut down, watchdogs (public/sched.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.sched import (
    SCHED_POLL,
    SCHED_SHUTDOWN,
    SCHED_WATCHDOG,
    SHUTDOWN_MAX,
    SchedOp,
    ShutdownReason,
)
from xenolith.hypervisor.guest_access import LONG_WORD, UINT, read_struct
from xenolith.machine.address import GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.vcpu import Vcpu

_MAX_POLLED_PORTS = 128
_PORT_BYTES = 4
_FAR_AWAY_NS = 1 << 50
_INSTEAD_OF_FAR_AWAY_NS = 100_000_000


def sched_op(vcpu: Vcpu, cmd: int, argument: int, _a3: int, _a4: int, _a5: int) -> int:
    """sched_op(cmd, arg)."""
    address = GuestVirt(argument)
    match cmd & UINT:
        case SchedOp.block:
            if vcpu.info is not None:
                vcpu.info[1] = 0
            vcpu.block()
        case SchedOp.yield_:
            vcpu.domain.scheduler.yield_now()
        case SchedOp.poll:
            _poll(vcpu, address)
        case SchedOp.shutdown:
            vcpu.domain.shut_down(_reason(vcpu, address))
        case SchedOp.shutdown_code:
            vcpu.domain.shutdown_code = _reason(vcpu, address)
        case SchedOp.watchdog:
            asked = read_struct(vcpu.paging, SCHED_WATCHDOG, address)
            return vcpu.domain.watchdogs.set(asked.id, asked.timeout)
        case SchedOp.remote_shutdown:
            raise XenError(Errno.EPERM, "only the toolstack shuts others down")
        case _:
            raise XenError(Errno.ENOSYS, f"scheduler operation {cmd}")
    return 0


def _reason(vcpu: Vcpu, address: GuestVirt) -> ShutdownReason:
    reason = read_struct(vcpu.paging, SCHED_SHUTDOWN, address).reason
    return ShutdownReason(reason) if reason <= SHUTDOWN_MAX else ShutdownReason.crash


def _poll(vcpu: Vcpu, address: GuestVirt) -> None:
    """Sleep until a port is pending or a system time has come; 0 means no time."""
    poll = read_struct(vcpu.paging, SCHED_POLL, address)
    if poll.nr_ports > _MAX_POLLED_PORTS:
        raise XenError(Errno.EINVAL, f"polling {poll.nr_ports} ports")
    raw = vcpu.paging.copy_from(GuestVirt(poll.ports), poll.nr_ports * _PORT_BYTES)
    vcpu.poll(memoryview(raw).cast("I").tolist(), poll.timeout)


def set_timer_op(vcpu: Vcpu, deadline: int, high: int, _a3: int, _a4: int, _a5: int) -> int:
    """set_timer_op(system time): arm the one-shot timer; 0 stops it. A 32-bit guest passes halves."""
    if vcpu.paging.word != LONG_WORD:
        deadline |= high << 32
    now = vcpu.domain.clock.now()
    if not deadline:
        vcpu.timers.stop_singleshot()
    elif deadline - now >= _FAR_AWAY_NS:
        # As in Xen: Linux's jiffies may wrap, and old kernels mean "no timer" by it.
        vcpu.timers.set_singleshot(now + _INSTEAD_OF_FAR_AWAY_NS)
    else:
        vcpu.timers.set_singleshot(deadline)
    return 0
