"""The hypercalls of public/xen.h for a trace: console_io, vm_assist, multicall."""

from __future__ import annotations

from xenolith.abi.xen import ConsoleIoOp, VmAssistCommand, VmAssistType
from xenolith.hypervisor.trace import values
from xenolith.hypervisor.trace.decoding import Call, Commands, TextIn, Value

_COUNT = Value(1, values.number)

CONSOLE_IO = Commands(
    ConsoleIoOp,
    {
        ConsoleIoOp.write: Call(_COUNT, TextIn(pointer=2, length=1)),
        ConsoleIoOp.read: Call(_COUNT, Value(2, hex)),
    },
)

_assist = Call(Value(1, values.one_of(VmAssistType)))

VM_ASSIST = Commands(
    VmAssistCommand, {VmAssistCommand.enable: _assist, VmAssistCommand.disable: _assist}
)

MULTICALL = Call(Value(1, lambda count: f"{values.number(count)} calls"))
"""Its entries are traced as the hypercalls that they are."""
