"""The decode tables by hypercall number (public/xen.h)."""

from __future__ import annotations

from xenolith.abi.xen import Hypercall
from xenolith.hypervisor.trace import values
from xenolith.hypervisor.trace.decoding import RAW, Signature
from xenolith.hypervisor.trace.tables import pv
from xenolith.hypervisor.trace.tables.event_channel import EVENT_CHANNEL_OP
from xenolith.hypervisor.trace.tables.grant_table import GRANT_TABLE_OP
from xenolith.hypervisor.trace.tables.hvm import HVM_OP
from xenolith.hypervisor.trace.tables.memory import MEMORY_OP
from xenolith.hypervisor.trace.tables.physdev import PHYSDEV_OP
from xenolith.hypervisor.trace.tables.sched import SCHED_OP, SET_TIMER_OP
from xenolith.hypervisor.trace.tables.vcpu import VCPU_OP
from xenolith.hypervisor.trace.tables.version import XEN_VERSION
from xenolith.hypervisor.trace.tables.xen import CONSOLE_IO, MULTICALL, VM_ASSIST

SIGNATURES: dict[int, Signature] = {
    Hypercall.memory_op.value: MEMORY_OP,
    Hypercall.multicall.value: MULTICALL,
    Hypercall.set_timer_op.value: SET_TIMER_OP,
    Hypercall.xen_version.value: XEN_VERSION,
    Hypercall.console_io.value: CONSOLE_IO,
    Hypercall.grant_table_op.value: GRANT_TABLE_OP,
    Hypercall.vm_assist.value: VM_ASSIST,
    Hypercall.vcpu_op.value: VCPU_OP,
    Hypercall.sched_op.value: SCHED_OP,
    Hypercall.event_channel_op.value: EVENT_CHANNEL_OP,
    Hypercall.physdev_op.value: PHYSDEV_OP,
    Hypercall.hvm_op.value: HVM_OP,
    Hypercall.set_trap_table.value: pv.SET_TRAP_TABLE,
    Hypercall.mmu_update.value: pv.MMU_UPDATE_CALL,
    Hypercall.set_gdt.value: pv.SET_GDT,
    Hypercall.stack_switch.value: pv.STACK_SWITCH,
    Hypercall.fpu_taskswitch.value: pv.FPU_TASKSWITCH,
    Hypercall.set_debugreg.value: pv.SET_DEBUGREG,
    Hypercall.get_debugreg.value: pv.GET_DEBUGREG,
    Hypercall.update_descriptor.value: pv.UPDATE_DESCRIPTOR,
    Hypercall.update_va_mapping.value: pv.UPDATE_VA_MAPPING,
    Hypercall.set_segment_base.value: pv.SET_SEGMENT_BASE,
    Hypercall.mmuext_op.value: pv.MMUEXT_OP_CALL,
    Hypercall.callback_op.value: pv.CALLBACK_OP,
}

_NAMES = values.names(Hypercall)


def signature_of(number: int) -> tuple[str, Signature]:
    """A hypercall's name, and how its registers are read."""
    name = _NAMES.get(number) or f"hypercall_{number}"
    return name, SIGNATURES.get(number, RAW)
