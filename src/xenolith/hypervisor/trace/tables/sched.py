"""sched_op and set_timer_op for a trace (public/sched.h)."""

from __future__ import annotations

from xenolith.abi.sched import (
    SCHED_PIN_OVERRIDE,
    SCHED_POLL,
    SCHED_REMOTE_SHUTDOWN,
    SCHED_SHUTDOWN,
    SCHED_WATCHDOG,
    SchedOp,
    ShutdownReason,
)
from xenolith.hypervisor.trace import values
from xenolith.hypervisor.trace.decoding import Call, Commands, SystemTime
from xenolith.hypervisor.trace.structs import Struct, moment, pointed

_reason = {"reason": values.one_of(ShutdownReason)}

_POLL = Struct(
    SCHED_POLL,
    derived={
        "ports": pointed("ports", "nr_ports", "I", values.number),
        "timeout": moment("timeout"),
    },
)
_WATCHDOG = Struct(SCHED_WATCHDOG, show={"timeout": lambda seconds: f"{seconds} s"})
_shutdown = Call(Struct(SCHED_SHUTDOWN, show=_reason))

SCHED_OP = Commands(
    SchedOp,
    {
        SchedOp.yield_: Call(),
        SchedOp.block: Call(),
        SchedOp.shutdown: _shutdown,
        SchedOp.poll: Call(_POLL),
        SchedOp.remote_shutdown: Call(Struct(SCHED_REMOTE_SHUTDOWN, show=_reason)),
        SchedOp.shutdown_code: _shutdown,
        SchedOp.watchdog: Call(_WATCHDOG),
        SchedOp.pin_override: Call(Struct(SCHED_PIN_OVERRIDE)),
    },
)

SET_TIMER_OP = Call(SystemTime(0))
