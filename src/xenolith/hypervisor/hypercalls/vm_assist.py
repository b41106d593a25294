"""vm_assist: optional behaviours; of those an HVM domain can have one (public/xen.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.xen import VmAssistCommand, VmAssistType

if TYPE_CHECKING:
    from xenolith.hypervisor.vcpu import Vcpu


def vm_assist(_vcpu: Vcpu, cmd: int, assist: int, _a3: int, _a4: int, _a5: int) -> int:
    """vm_assist(cmd, type). The runstate area is only ever written while the guest stands still, so the
    update flag that a guest may ask for is always clear when it looks.
    """
    if assist != VmAssistType.runstate_update_flag:
        raise XenError(Errno.EINVAL, f"assist {assist}")
    if cmd not in (VmAssistCommand.enable, VmAssistCommand.disable):
        raise XenError(Errno.ENOSYS, f"assist command {cmd}")
    return 0
