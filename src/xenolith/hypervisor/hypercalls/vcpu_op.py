"""vcpu_op: bringing vCPUs up and down, their timers and shared areas (public/vcpu.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.vcpu import (
    VCPU_REGISTER_RUNSTATE_MEMORY_AREA,
    VCPU_REGISTER_TIME_MEMORY_AREA,
    VCPU_REGISTER_VCPU_INFO,
    VCPU_RUNSTATE_INFO,
    VCPU_SET_PERIODIC_TIMER,
    VCPU_SET_SINGLESHOT_TIMER,
    VCPU_SSHOTTMR_future,
    VcpuOp,
)
from xenolith.abi.xen import VCPU_TIME_INFO
from xenolith.hypervisor.guest_access import UINT, layout_of, pointer, read_struct
from xenolith.machine.address import Gfn, GuestVirt

if TYPE_CHECKING:
    from collections.abc import Callable

    from xenolith.hypervisor.vcpu import Vcpu

_MINIMUM_PERIOD_NS = 1_000_000
_MAXIMUM_PERIOD_NS = (1 << 62) - 1
"""STIME_DELTA_MAX."""


def vcpu_op(caller: Vcpu, cmd: int, vcpu_id: int, argument: int, _a4: int, _a5: int) -> int:
    """vcpu_op(cmd, vcpuid, extra_args)."""
    cmd, vcpu_id = cmd & UINT, vcpu_id & UINT
    vcpus = caller.domain.vcpus
    if vcpu_id >= len(vcpus):
        raise XenError(Errno.ENOENT, f"there is no vCPU {vcpu_id}")
    operation = _OPERATIONS.get(cmd)
    if operation is None:
        raise XenError(Errno.ENOSYS, f"vCPU operation {cmd}")
    return operation(caller, vcpus[vcpu_id], GuestVirt(argument)) or 0


def _initialise(caller: Vcpu, vcpu: Vcpu, argument: GuestVirt) -> None:
    if vcpu.initialised:
        raise XenError(Errno.EEXIST, f"vCPU {vcpu.id} is initialised already")
    vcpu.initialise(caller, argument)


def _up(_caller: Vcpu, vcpu: Vcpu, _argument: GuestVirt) -> None:
    if not vcpu.initialised:
        raise XenError(Errno.EINVAL, f"vCPU {vcpu.id} is not initialised")
    vcpu.domain.scheduler.bring_up(vcpu)


def _down(_caller: Vcpu, vcpu: Vcpu, _argument: GuestVirt) -> None:
    if not any(other.is_up for other in vcpu.domain.vcpus if other is not vcpu):
        raise XenError(Errno.EBUSY, "the last vCPU cannot go down")
    vcpu.go_down()


def _is_up(_caller: Vcpu, vcpu: Vcpu, _argument: GuestVirt) -> int:
    return int(vcpu.is_up)


def _get_runstate_info(caller: Vcpu, vcpu: Vcpu, argument: GuestVirt) -> None:
    layout = layout_of(caller.paging, VCPU_RUNSTATE_INFO)
    caller.paging.copy_to(argument, layout.pack(vcpu.runstate.info(vcpu.domain.clock.now())))


def _register_runstate_area(caller: Vcpu, vcpu: Vcpu, argument: GuestVirt) -> None:
    asked = read_struct(caller.paging, VCPU_REGISTER_RUNSTATE_MEMORY_AREA, argument)
    layout = layout_of(caller.paging, VCPU_RUNSTATE_INFO)
    address = pointer(caller.paging, asked.addr)
    vcpu.runstate.register(caller.guest_area(address, layout.size) if address else [], layout)


def _set_periodic_timer(caller: Vcpu, vcpu: Vcpu, argument: GuestVirt) -> None:
    period = read_struct(caller.paging, VCPU_SET_PERIODIC_TIMER, argument).period_ns
    if not _MINIMUM_PERIOD_NS <= period <= _MAXIMUM_PERIOD_NS:
        raise XenError(Errno.EINVAL, f"a period of {period} ns")
    vcpu.timers.set_periodic(period)


def _stop_periodic_timer(_caller: Vcpu, vcpu: Vcpu, _argument: GuestVirt) -> None:
    vcpu.timers.stop_periodic()


def _set_singleshot_timer(caller: Vcpu, vcpu: Vcpu, argument: GuestVirt) -> None:
    if vcpu is not caller:
        raise XenError(Errno.EINVAL, "a one-shot timer is its own vCPU's")
    asked = read_struct(caller.paging, VCPU_SET_SINGLESHOT_TIMER, argument)
    deadline = asked.timeout_abs_ns
    if asked.flags & VCPU_SSHOTTMR_future and deadline < vcpu.domain.clock.now():
        raise XenError(Errno.ETIME, f"the time {deadline} has passed")
    vcpu.timers.set_singleshot(deadline)


def _stop_singleshot_timer(caller: Vcpu, vcpu: Vcpu, _argument: GuestVirt) -> None:
    if vcpu is not caller:
        raise XenError(Errno.EINVAL, "a one-shot timer is its own vCPU's")
    vcpu.timers.stop_singleshot()


def _register_vcpu_info(caller: Vcpu, vcpu: Vcpu, argument: GuestVirt) -> None:
    asked = read_struct(caller.paging, VCPU_REGISTER_VCPU_INFO, argument)
    if vcpu.info_registered:
        raise XenError(Errno.EINVAL, f"vCPU {vcpu.id} has registered its vcpu_info before")
    if vcpu is not caller and vcpu.is_up:
        raise XenError(Errno.EINVAL, f"vCPU {vcpu.id} is running")
    vcpu.register_info(Gfn(asked.mfn), asked.offset)


def _send_nmi(_caller: Vcpu, vcpu: Vcpu, _argument: GuestVirt) -> None:
    vcpu.nmi()


def _get_physid(_caller: Vcpu, vcpu: Vcpu, _argument: GuestVirt) -> None:
    raise XenError(Errno.EINVAL, f"vCPU {vcpu.id} is not pinned to a processor")


def _register_time_area(caller: Vcpu, vcpu: Vcpu, argument: GuestVirt) -> None:
    asked = read_struct(caller.paging, VCPU_REGISTER_TIME_MEMORY_AREA, argument)
    info = vcpu.domain.clock.time_info()
    for piece in caller.guest_area(pointer(caller.paging, asked.addr), VCPU_TIME_INFO.size):
        piece[:] = info[: len(piece)]
        info = info[len(piece) :]


_OPERATIONS: dict[int, Callable[[Vcpu, Vcpu, GuestVirt], int | None]] = {
    VcpuOp.initialise.value: _initialise,
    VcpuOp.up.value: _up,
    VcpuOp.down.value: _down,
    VcpuOp.is_up.value: _is_up,
    VcpuOp.get_runstate_info.value: _get_runstate_info,
    VcpuOp.register_runstate_memory_area.value: _register_runstate_area,
    VcpuOp.set_periodic_timer.value: _set_periodic_timer,
    VcpuOp.stop_periodic_timer.value: _stop_periodic_timer,
    VcpuOp.set_singleshot_timer.value: _set_singleshot_timer,
    VcpuOp.stop_singleshot_timer.value: _stop_singleshot_timer,
    VcpuOp.register_vcpu_info.value: _register_vcpu_info,
    VcpuOp.send_nmi.value: _send_nmi,
    VcpuOp.get_physid.value: _get_physid,
    VcpuOp.register_vcpu_time_memory_area.value: _register_time_area,
}
