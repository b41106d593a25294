"""Small hypercalls about the processor: fpu_taskswitch, the debug registers, and I/O privilege.

As in xen/arch/x86/pv/misc-hypercalls.c and xen/arch/x86/physdev.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.physdev import PHYSDEV_SET_IOBITMAP, PHYSDEV_SET_IOPL, PhysdevOp
from xenolith.hypervisor.guest_access import UINT, read_struct
from xenolith.hypervisor.pv.paging import may_be_mapped
from xenolith.machine.address import GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_HIGHEST_IOPL, _PORTS = 3, 0x10000


def fpu_taskswitch(vcpu: PvVcpu, on: int, _a2: int, _a3: int, _a4: int, _a5: int) -> int:
    """fpu_taskswitch(set): whether the next FPU instruction raises #NM."""
    vcpu.engine_vcpu.set_task_switched(bool(on & UINT))
    return 0


def set_debugreg(vcpu: PvVcpu, number: int, value: int, _a3: int, _a4: int, _a5: int) -> int:
    """set_debugreg(register, value)."""
    vcpu.debug.write(number & UINT, value)
    return 0


def get_debugreg(vcpu: PvVcpu, number: int, _a2: int, _a3: int, _a4: int, _a5: int) -> int:
    """get_debugreg(register): its value."""
    return vcpu.debug.read(number & UINT)


def physdev_op(vcpu: PvVcpu, cmd: int, argument: int, _a3: int, _a4: int, _a5: int) -> int:
    """physdev_op(cmd, arg): I/O privilege; there are no devices."""
    cmd &= UINT
    if cmd == PhysdevOp.set_iopl:
        level = read_struct(vcpu.paging, PHYSDEV_SET_IOPL, GuestVirt(argument)).iopl
        if level > _HIGHEST_IOPL:
            raise XenError(Errno.EINVAL, f"I/O privilege level {level}")
        vcpu.port_access.level = level
    elif cmd == PhysdevOp.set_iobitmap:
        asked = read_struct(vcpu.paging, PHYSDEV_SET_IOBITMAP, GuestVirt(argument))
        if asked.nr_ports > _PORTS or not may_be_mapped(asked.bitmap):
            raise XenError(Errno.EINVAL, f"a bitmap of {asked.nr_ports} ports at {asked.bitmap:#x}")
        vcpu.port_access.set_bitmap(GuestVirt(asked.bitmap), asked.nr_ports)
    else:
        raise XenError(Errno.ENOSYS, f"physical device operation {cmd}")
    return 0
