"""The hypercalls of a PV domain by number; one that is not here returns -ENOSYS and is counted.

Who may call what is Xen's xen/include/hypercall-defs.c, column "pv64".
"""

from __future__ import annotations

from xenolith.abi.xen import Hypercall
from xenolith.hypervisor.hypercalls import groups
from xenolith.hypervisor.hypercalls.console_io import console_io
from xenolith.hypervisor.hypercalls.multicall import multicall
from xenolith.hypervisor.hypercalls.sched_op import sched_op, set_timer_op
from xenolith.hypervisor.hypercalls.table import Handler
from xenolith.hypervisor.hypercalls.vcpu_op import vcpu_op
from xenolith.hypervisor.hypercalls.vm_assist import vm_assist
from xenolith.hypervisor.hypercalls.xen_version import xen_version
from xenolith.hypervisor.pv import mmu_update, processor_ops, segments, traps
from xenolith.hypervisor.pv.grant_mapping import grant_table
from xenolith.hypervisor.pv.memory_op import memory_op
from xenolith.hypervisor.pv.mmuext_op import mmuext_op

PV_HANDLERS: dict[int, Handler] = {
    Hypercall.set_trap_table.value: traps.set_trap_table,
    Hypercall.mmu_update.value: mmu_update.mmu_update,
    Hypercall.set_gdt.value: segments.set_gdt,
    Hypercall.stack_switch.value: traps.stack_switch,
    Hypercall.set_callbacks.value: traps.set_callbacks,
    Hypercall.fpu_taskswitch.value: processor_ops.fpu_taskswitch,
    Hypercall.set_debugreg.value: processor_ops.set_debugreg,
    Hypercall.get_debugreg.value: processor_ops.get_debugreg,
    Hypercall.update_descriptor.value: segments.update_descriptor,
    Hypercall.memory_op.value: memory_op,
    Hypercall.multicall.value: multicall,
    Hypercall.update_va_mapping.value: mmu_update.update_va_mapping,
    Hypercall.set_timer_op.value: set_timer_op,
    Hypercall.xen_version.value: xen_version,
    Hypercall.console_io.value: console_io,
    Hypercall.grant_table_op.value: grant_table,
    Hypercall.vm_assist.value: vm_assist,
    Hypercall.update_va_mapping_otherdomain.value: mmu_update.update_va_mapping_otherdomain,
    Hypercall.iret.value: traps.iret,
    Hypercall.vcpu_op.value: vcpu_op,
    Hypercall.set_segment_base.value: segments.set_segment_base,
    Hypercall.mmuext_op.value: mmuext_op,
    Hypercall.nmi_op.value: traps.nmi_op,
    Hypercall.sched_op.value: sched_op,
    Hypercall.callback_op.value: traps.callback_op,
    Hypercall.event_channel_op.value: groups.event_channel,
    Hypercall.physdev_op.value: processor_ops.physdev_op,
}
