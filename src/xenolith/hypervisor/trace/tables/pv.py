"""The hypercalls of PV guests alone, for a trace (public/xen.h, public/callback.h, public/arch-x86/xen.h)."""

from __future__ import annotations

from typing import Any

from xenolith.abi.arch_x86_pv import TRAP_INFO, SegmentBase
from xenolith.abi.callback import (
    CALLBACK_REGISTER,
    CALLBACK_UNREGISTER,
    CALLBACKF_mask_events,
    CallbackOp,
    CallbackType,
)
from xenolith.abi.xen_pv import (
    MMU_UPDATE,
    MMUEXT_OP,
    UVMF_INVLPG,
    UVMF_TLB_FLUSH,
    MmuextCommand,
    MmuUpdateKind,
)
from xenolith.hypervisor.trace import values
from xenolith.hypervisor.trace.decoding import Call, Commands, Look, Value
from xenolith.hypervisor.trace.structs import Struct, StructArray

_UVMF_ALL = 1 << 2
_KIND_MASK = 3
_kind = values.one_of(MmuUpdateKind)
_command = values.one_of(MmuextCommand)
_callback = {
    "type": values.one_of(CallbackType),
    "flags": values.flags({CALLBACKF_mask_events: "mask_events"}),
    "address": hex,
}

_SHOWN_BITS = 12
_NX = 63


def _pointer(request: Any, _look: Look) -> str:
    kind = request.ptr & _KIND_MASK
    at = hex(request.ptr & ~_KIND_MASK)
    return at if kind == MmuUpdateKind.NORMAL_PT_UPDATE else f"{at} {_kind(kind)}"


def _entry(value: int) -> str:
    """A page table entry: its frame and its flags."""
    flags = value & (1 << _SHOWN_BITS) - 1
    shown = f"{(value & (1 << 52) - 1) >> _SHOWN_BITS:#x}|{flags:#x}"
    return shown + ("|NX" if value >> _NX else "") if value else "0"


_UPDATE = Struct(MMU_UPDATE, show={"val": _entry}, derived={"ptr": _pointer})
_OPERATION = Struct(MMUEXT_OP, show={"cmd": _command, "arg1": hex})
_DOMID = Value(3, values.domid)

MMU_UPDATE_CALL = Call(StructArray(_UPDATE, pointer=0, count=1), _DOMID)
MMUEXT_OP_CALL = Call(StructArray(_OPERATION, pointer=0, count=1), _DOMID)

UPDATE_VA_MAPPING = Call(
    Value(0, hex),
    Value(1, _entry),
    Value(2, values.flags({UVMF_TLB_FLUSH: "flush", UVMF_INVLPG: "invlpg", _UVMF_ALL: "all"})),
)

SET_TRAP_TABLE = Call(
    Struct(TRAP_INFO, show={"address": hex, "cs": hex, "flags": hex}, index=0),
)
"""Its first entry."""

CALLBACK_OP = Commands(
    CallbackOp,
    {
        CallbackOp.register: Call(Struct(CALLBACK_REGISTER, show=_callback)),
        CallbackOp.unregister: Call(Struct(CALLBACK_UNREGISTER, show=_callback)),
    },
)

SET_GDT = Call(Value(0, hex), Value(1, values.number))
STACK_SWITCH = Call(Value(0, hex), Value(1, hex))
FPU_TASKSWITCH = Call(Value(0, values.number))
SET_DEBUGREG = Call(Value(0, values.number), Value(1, hex))
GET_DEBUGREG = Call(Value(0, values.number), result=hex)
UPDATE_DESCRIPTOR = Call(Value(0, hex), Value(1, hex))
SET_SEGMENT_BASE = Call(Value(0, values.one_of(SegmentBase)), Value(1, hex))
