"""hvm_op for a trace (public/hvm/hvm_op.h, public/hvm/params.h)."""

from __future__ import annotations

from xenolith.abi.hvm_op import (
    XEN_HVM_EVTCHN_UPCALL_VECTOR,
    XEN_HVM_GET_MEM_TYPE,
    XEN_HVM_GET_TIME,
    XEN_HVM_PAGETABLE_DYING,
    XEN_HVM_PARAM,
    HvmMemType,
    HvmOp,
    XenHvmParam,
)
from xenolith.abi.hvm_params import CallbackType, HvmParam, TimerMode
from xenolith.abi.sched import ShutdownReason
from xenolith.hypervisor.trace import values
from xenolith.hypervisor.trace.decoding import Call, Commands, Look, Value
from xenolith.hypervisor.trace.structs import Struct
from xenolith.hypervisor.trace.values import Show

_TYPE_SHIFT = 56


def _callback(value: int) -> str:
    """CALLBACK_IRQ: the top byte says how upcalls reach the guest."""
    match value >> _TYPE_SHIFT:
        case CallbackType.VECTOR:
            return f"vector {value & 0xFF:#x}"
        case CallbackType.GSI if value:
            return f"gsi {value & 0xFFFFFFFF}"
        case CallbackType.PCI_INTX:
            return f"pci_intx {value & 0xFFFFFFFF:#x}"
        case _:
            return hex(value)


_VALUES: dict[int, Show] = {
    HvmParam.CALLBACK_IRQ: _callback,
    HvmParam.STORE_EVTCHN: values.number,
    HvmParam.CONSOLE_EVTCHN: values.number,
    HvmParam.BUFIOREQ_EVTCHN: values.number,
    HvmParam.TIMER_MODE: values.one_of(TimerMode),
    HvmParam.TRIPLE_FAULT_REASON: values.one_of(ShutdownReason),
}
"""What the parameters hold that are not addresses or sizes."""


def _value(param: XenHvmParam, _look: Look) -> str:
    return _VALUES.get(param.index_, hex)(param.value)


_index = values.one_of(HvmParam)
_SET_PARAM = Struct(XEN_HVM_PARAM, show={"index_": _index}, derived={"value": _value})
_GET_PARAM = Struct(XEN_HVM_PARAM, ("value",), show={"index_": _index}, derived={"value": _value})

HVM_OP = Commands(
    HvmOp,
    {
        HvmOp.set_param: Call(_SET_PARAM),
        HvmOp.get_param: Call(_GET_PARAM),
        HvmOp.flush_tlbs: Call(Value(1, lambda argument: hex(argument) if argument else "NULL")),
        HvmOp.pagetable_dying: Call(Struct(XEN_HVM_PAGETABLE_DYING)),
        HvmOp.get_time: Call(Struct(XEN_HVM_GET_TIME, ("now",), show={"now": values.seconds})),
        HvmOp.get_mem_type: Call(
            Struct(
                XEN_HVM_GET_MEM_TYPE, ("mem_type",), show={"mem_type": values.one_of(HvmMemType)}
            )
        ),
        HvmOp.set_evtchn_upcall_vector: Call(
            Struct(XEN_HVM_EVTCHN_UPCALL_VECTOR, show={"vector": hex})
        ),
        HvmOp.guest_request_vm_event: Call(),
    },
)
