"""The sched_op hypercall: yield, block, poll, shut down.

Mirrors public/sched.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import S32, U16, U32, U64, ULONG, Layout

HEADER = "sched.h"


@c_constants("SCHEDOP_")
class SchedOp(IntEnum):
    """First argument of sched_op."""

    yield_ = 0
    block = 1
    shutdown = 2
    poll = 3
    remote_shutdown = 4
    shutdown_code = 5
    watchdog = 6
    pin_override = 7


@c_constants("SHUTDOWN_")
class ShutdownReason(IntEnum):
    """Why a domain shut down."""

    poweroff = 0
    reboot = 1
    suspend = 2
    crash = 3
    watchdog = 4
    soft_reset = 5


SHUTDOWN_MAX = 5


class SchedShutdown(NamedTuple):
    """The argument of shutdown and shutdown_code."""

    reason: U32


SCHED_SHUTDOWN = Layout(SchedShutdown, "struct sched_shutdown", HEADER)


class SchedPoll(NamedTuple):
    """Sleep until one of ``nr_ports`` ports is pending or the system time ``timeout`` (ns)."""

    ports: ULONG
    nr_ports: U32
    timeout: U64


SCHED_POLL = Layout(SchedPoll, "struct sched_poll", HEADER)


class SchedRemoteShutdown(NamedTuple):
    """Shut another domain down."""

    domain_id: U16
    reason: U32


SCHED_REMOTE_SHUTDOWN = Layout(SchedRemoteShutdown, "struct sched_remote_shutdown", HEADER)


class SchedWatchdog(NamedTuple):
    """Set (``id`` 0) or restart a watchdog of ``timeout`` seconds."""

    id: U32
    timeout: U32


SCHED_WATCHDOG = Layout(SchedWatchdog, "struct sched_watchdog", HEADER)


class SchedPinOverride(NamedTuple):
    """Pin the calling vCPU to a physical CPU; privileged."""

    pcpu: S32


SCHED_PIN_OVERRIDE = Layout(SchedPinOverride, "struct sched_pin_override", HEADER)
