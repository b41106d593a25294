"""Where traps, events and system calls enter a PV guest's kernel, and on which stack.

set_trap_table, set_callbacks, callback_op, nmi_op and stack_switch, as in xen/arch/x86/pv/callback.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xenolith.abi.arch_x86_pv import TRAP_INFO, TrapInfo
from xenolith.abi.callback import (
    CALLBACK_REGISTER,
    CALLBACK_UNREGISTER,
    CALLBACKF_mask_events,
    CallbackOp,
    CallbackType,
)
from xenolith.abi.errno import Errno, XenError
from xenolith.abi.xen import Hypercall
from xenolith.engine.pv import TrapGate
from xenolith.hypervisor.guest_access import UINT, Continuation, read_struct
from xenolith.machine.address import PAGE_SIZE, GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_VECTORS = 256
_DPL, _MASKS_EVENTS = 3, 4
_NMI_VECTOR = 2
_NMI_CALLBACK, _NMI_UNREGISTER = 0, 1
_CALLBACKS = frozenset(
    kind.value for kind in CallbackType if kind is not CallbackType.sysenter_deprecated
)
NOWHERE = TrapGate(GuestVirt(0))

_SIGN_EXTENSION = (0, 0x1FFFF)


def is_canonical(address: int) -> bool:
    """Whether the processor takes an address for one."""
    return address >> 47 in _SIGN_EXTENSION


def trap_gate(info: TrapInfo) -> TrapGate:
    """The gate that an entry of a trap table describes."""
    return TrapGate(
        GuestVirt(info.address), info.cs, info.flags & _DPL, bool(info.flags & _MASKS_EVENTS)
    )


def set_trap_table(vcpu: PvVcpu, table: int, _a2: int, _a3: int, _a4: int, _a5: int) -> int:
    """set_trap_table(traps): an array that an address of 0 ends; no array empties the table."""
    if not table:
        vcpu.engine_vcpu.clear_traps()
        return 0
    for info in _trap_infos(vcpu, table):
        if not info.address:
            break
        if not is_canonical(info.address):
            raise XenError(Errno.EINVAL, f"a trap handler at {info.address:#x}")
        vcpu.engine_vcpu.set_trap(info.vector, trap_gate(info))
    return 0


def _trap_infos(vcpu: PvVcpu, table: int) -> Iterator[TrapInfo]:
    """The entries of an array that may end anywhere, copied a page at a time."""
    size, left = TRAP_INFO.size, _VECTORS
    while left:
        room = PAGE_SIZE - table % PAGE_SIZE
        count = min(left, room // size or 1)
        data = vcpu.paging.copy_from(GuestVirt(table), count * size)
        for index in range(count):
            yield TRAP_INFO.unpack(data, index * size)
        table, left = table + count * size, left - count


def set_callbacks(vcpu: PvVcpu, event: int, failsafe: int, syscall: int, _a4: int, _a5: int) -> int:
    """set_callbacks(event, failsafe, syscall): all three at once, less what is no address, as in Xen."""
    for kind, address in (
        (CallbackType.event, event),
        (CallbackType.failsafe, failsafe),
        (CallbackType.syscall, syscall),
    ):
        if is_canonical(address):
            _register(vcpu, kind, address, masks_events=False)
    return 0


def callback_op(vcpu: PvVcpu, cmd: int, argument: int, _a3: int, _a4: int, _a5: int) -> int:
    """callback_op(cmd, arg)."""
    cmd &= UINT
    if cmd == CallbackOp.register:
        asked = read_struct(vcpu.paging, CALLBACK_REGISTER, GuestVirt(argument))
        if asked.type not in _CALLBACKS:
            raise XenError(Errno.ENOSYS, f"callback {asked.type}")
        masks = bool(asked.flags & CALLBACKF_mask_events)
        _register(vcpu, CallbackType(asked.type), asked.address, masks_events=masks)
    elif cmd == CallbackOp.unregister:
        kind = read_struct(vcpu.paging, CALLBACK_UNREGISTER, GuestVirt(argument)).type
        if kind == CallbackType.nmi:
            vcpu.engine_vcpu.set_trap(_NMI_VECTOR, NOWHERE)
        elif kind in _CALLBACKS:
            raise XenError(Errno.EINVAL, f"callback {kind} cannot be taken back")
        else:
            raise XenError(Errno.ENOSYS, f"callback {kind}")
    else:
        raise XenError(Errno.ENOSYS, f"callback operation {cmd}")
    return 0


def _register(vcpu: PvVcpu, kind: CallbackType, address: int, *, masks_events: bool) -> None:
    if not is_canonical(address):
        raise XenError(Errno.EINVAL, f"a callback at {address:#x}")
    if kind is CallbackType.nmi:
        vcpu.engine_vcpu.set_trap(_NMI_VECTOR, TrapGate(GuestVirt(address), masks_events=True))
        return
    if kind is CallbackType.event:
        masks_events = True
    vcpu.engine_vcpu.set_callback(kind, TrapGate(GuestVirt(address), masks_events=masks_events))


def nmi_op(vcpu: PvVcpu, cmd: int, argument: int, _a3: int, _a4: int, _a5: int) -> int:
    """nmi_op(cmd, arg): the older way to say where NMIs go; the argument points to the address."""
    cmd &= UINT
    if cmd == _NMI_CALLBACK:
        raw = vcpu.paging.copy_from(GuestVirt(argument), 8)
        _register(vcpu, CallbackType.nmi, int.from_bytes(raw, "little"), masks_events=False)
    elif cmd == _NMI_UNREGISTER:
        vcpu.engine_vcpu.set_trap(_NMI_VECTOR, NOWHERE)
    else:
        raise XenError(Errno.ENOSYS, f"NMI operation {cmd}")
    return 0


def iret(_vcpu: PvVcpu, _a1: int, _a2: int, _a3: int, _a4: int, _a5: int) -> int:
    """iret() as an entry of a multicall, which is over with it (Xen's advisory XSA-213).

    By itself it never gets here: engines return to programs without asking.
    """
    raise Continuation(number=Hypercall.iret)


def stack_switch(vcpu: PvVcpu, _ss: int, address: int, _a3: int, _a4: int, _a5: int) -> int:
    """stack_switch(ss, rsp): the stack for the next trap out of user mode; its segment is always flat."""
    vcpu.engine_vcpu.set_kernel_stack(GuestVirt(address))
    return 0
