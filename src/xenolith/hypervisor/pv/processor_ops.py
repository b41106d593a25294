"""Small hypercalls about the processor: fpu_taskswitch, the debug registers, and I/O privilege.

As in xen/arch/x86/pv/misc-hypercalls.c and xen/arch/x86/physdev.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.physdev import PHYSDEV_SET_IOPL, PhysdevOp
from xenolith.hypervisor.guest_access import read_struct
from xenolith.machine.address import GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_KERNEL_IOPL, _HIGHEST_IOPL = 1, 3


def fpu_taskswitch(vcpu: PvVcpu, on: int, _a2: int, _a3: int, _a4: int, _a5: int) -> int:
    """fpu_taskswitch(set): whether the next FPU instruction raises #NM."""
    vcpu.engine_vcpu.set_task_switched(bool(on))
    return 0


def set_debugreg(vcpu: PvVcpu, number: int, value: int, _a3: int, _a4: int, _a5: int) -> int:
    """set_debugreg(register, value)."""
    vcpu.debug.write(number, value)
    return 0


def get_debugreg(vcpu: PvVcpu, number: int, _a2: int, _a3: int, _a4: int, _a5: int) -> int:
    """get_debugreg(register): its value."""
    return vcpu.debug.read(number)


def physdev_op(vcpu: PvVcpu, cmd: int, argument: int, _a3: int, _a4: int, _a5: int) -> int:
    """physdev_op(cmd, arg): I/O privilege; there are no devices."""
    if cmd != PhysdevOp.set_iopl:
        raise XenError(Errno.ENOSYS, f"physical device operation {cmd}")
    level = read_struct(vcpu.paging, PHYSDEV_SET_IOPL, GuestVirt(argument)).iopl
    if level > _HIGHEST_IOPL:
        raise XenError(Errno.EINVAL, f"I/O privilege level {level}")
    vcpu.iopl = max(level, _KERNEL_IOPL) if level else 0
    return 0
