"""vcpu_op for a trace (public/vcpu.h, public/hvm/hvm_vcpu.h)."""

from __future__ import annotations

from functools import partial

from xenolith.abi.hvm_vcpu import (
    VCPU_HVM_CONTEXT,
    VCPU_HVM_X86_32,
    VCPU_HVM_X86_64,
    VcpuHvmContext,
    VcpuHvmMode,
)
from xenolith.abi.vcpu import (
    VCPU_GET_PHYSID,
    VCPU_REGISTER_RUNSTATE_MEMORY_AREA,
    VCPU_REGISTER_TIME_MEMORY_AREA,
    VCPU_REGISTER_VCPU_INFO,
    VCPU_RUNSTATE_INFO,
    VCPU_SET_PERIODIC_TIMER,
    VCPU_SET_SINGLESHOT_TIMER,
    Runstate,
    VCPU_SSHOTTMR_future,
    VcpuOp,
    VcpuRunstateInfo,
)
from xenolith.hypervisor.trace import values
from xenolith.hypervisor.trace.decoding import Call, Commands, Look, Value
from xenolith.hypervisor.trace.structs import Struct, moment

_Struct = partial(Struct, index=2)
_VCPU = Value(1, values.vcpu)

_runstate = values.one_of(Runstate)


def _registers(context: VcpuHvmContext, _look: Look) -> str:
    """Where the vCPU starts and in which address space."""
    if context.mode == VcpuHvmMode._64B:
        long = VCPU_HVM_X86_64.unpack(context.cpu_regs)
        return f"{{rip={long.rip:#x}, rsp={long.rsp:#x}, cr3={long.cr3:#x}}}"
    short = VCPU_HVM_X86_32.unpack(context.cpu_regs)
    return f"{{eip={short.eip:#x}, esp={short.esp:#x}, cr0={short.cr0:#x}}}"


def _state(info: VcpuRunstateInfo, _look: Look) -> str:
    return _runstate(info.state)


def _times(info: VcpuRunstateInfo, _look: Look) -> str:
    return "[" + ", ".join(values.span(time) for time in info.time) + "]"


_CONTEXT = _Struct(
    VCPU_HVM_CONTEXT,
    show={"mode": values.one_of(VcpuHvmMode)},
    derived={"cpu_regs": _registers},
)
_RUNSTATE_INFO = _Struct(
    VCPU_RUNSTATE_INFO,
    outs=("state", "state_entry_time", "time"),
    show={"state_entry_time": values.seconds},
    derived={"state": _state, "time": _times},
)
_SINGLESHOT = _Struct(
    VCPU_SET_SINGLESHOT_TIMER,
    show={"flags": values.flags({VCPU_SSHOTTMR_future: "future"})},
    derived={"timeout_abs_ns": moment("timeout_abs_ns")},
)
_alone = Call(_VCPU)

VCPU_OP = Commands(
    VcpuOp,
    {
        VcpuOp.initialise: Call(_VCPU, _CONTEXT),
        VcpuOp.up: _alone,
        VcpuOp.down: _alone,
        VcpuOp.is_up: _alone,
        VcpuOp.get_runstate_info: Call(_VCPU, _RUNSTATE_INFO),
        VcpuOp.register_runstate_memory_area: Call(
            _VCPU, _Struct(VCPU_REGISTER_RUNSTATE_MEMORY_AREA)
        ),
        VcpuOp.set_periodic_timer: Call(
            _VCPU, _Struct(VCPU_SET_PERIODIC_TIMER, show={"period_ns": values.span})
        ),
        VcpuOp.stop_periodic_timer: _alone,
        VcpuOp.set_singleshot_timer: Call(_VCPU, _SINGLESHOT),
        VcpuOp.stop_singleshot_timer: _alone,
        VcpuOp.register_vcpu_info: Call(_VCPU, _Struct(VCPU_REGISTER_VCPU_INFO)),
        VcpuOp.send_nmi: _alone,
        VcpuOp.get_physid: Call(_VCPU, _Struct(VCPU_GET_PHYSID, ("phys_id",))),
        VcpuOp.register_vcpu_time_memory_area: Call(_VCPU, _Struct(VCPU_REGISTER_TIME_MEMORY_AREA)),
    },
)
