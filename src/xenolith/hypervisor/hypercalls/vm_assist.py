"""vm_assist: optional behaviours of the hypervisor (public/xen.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.xen import VmAssistCommand
from xenolith.hypervisor.guest_access import UINT

if TYPE_CHECKING:
    from xenolith.hypervisor.vcpu import Vcpu


def vm_assist(vcpu: Vcpu, cmd: int, assist: int, _a3: int, _a4: int, _a5: int) -> int:
    """vm_assist(cmd, type). What a vCPU may ask for is all on from the start.

    The runstate area is only ever written while the guest stands still, so the update flag that a guest may ask
    for is always clear when it looks.
    """
    cmd, assist = cmd & UINT, assist & UINT
    if assist not in vcpu.assists:
        raise XenError(Errno.EINVAL, f"assist {assist}")
    if cmd not in (VmAssistCommand.enable, VmAssistCommand.disable):
        raise XenError(Errno.ENOSYS, f"assist command {cmd}")
    return 0
