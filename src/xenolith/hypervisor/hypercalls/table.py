"""The hypercalls of an HVM domain by number; one that is not here returns -ENOSYS and is counted.

Who may call what is Xen's xen/include/hypercall-defs.c, column "hvm"/"pvh".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xenolith.abi.xen import Hypercall
from xenolith.hypervisor.hvm.memory_op import memory_op
from xenolith.hypervisor.hypercalls import groups
from xenolith.hypervisor.hypercalls.console_io import console_io
from xenolith.hypervisor.hypercalls.hvm_op import hvm_op
from xenolith.hypervisor.hypercalls.multicall import multicall
from xenolith.hypervisor.hypercalls.physdev_op import physdev_op
from xenolith.hypervisor.hypercalls.sched_op import sched_op, set_timer_op
from xenolith.hypervisor.hypercalls.vcpu_op import vcpu_op
from xenolith.hypervisor.hypercalls.vm_assist import vm_assist
from xenolith.hypervisor.hypercalls.xen_version import xen_version

Handler = Callable[[Any, int, int, int, int, int], int]
"""Of the vCPU that makes the call, of the kind that the table is for, and five arguments."""

HVM_HANDLERS: dict[int, Handler] = {
    Hypercall.memory_op.value: memory_op,
    Hypercall.multicall.value: multicall,
    Hypercall.set_timer_op.value: set_timer_op,
    Hypercall.xen_version.value: xen_version,
    Hypercall.console_io.value: console_io,
    Hypercall.grant_table_op.value: groups.grant_table,
    Hypercall.vm_assist.value: vm_assist,
    Hypercall.vcpu_op.value: vcpu_op,
    Hypercall.sched_op.value: sched_op,
    Hypercall.event_channel_op.value: groups.event_channel,
    Hypercall.physdev_op.value: physdev_op,
    Hypercall.hvm_op.value: hvm_op,
}
