"""console_io: text for the hypervisor's console, which here is the domain's log (public/xen.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.xen import ConsoleIoOp
from xenolith.hypervisor.guest_access import UINT, Continuation
from xenolith.machine.address import GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.vcpu import Vcpu

_CHUNK = 4096


def console_io(vcpu: Vcpu, cmd: int, count: int, buffer: int, _a4: int, _a5: int) -> int:
    """console_io(cmd, count, buffer); reading never finds anything."""
    cmd, count = cmd & UINT, count & UINT
    if cmd == ConsoleIoOp.read:
        return 0
    if cmd != ConsoleIoOp.write:
        raise XenError(Errno.ENOSYS, f"console operation {cmd}")
    vcpu.domain.debug_output(vcpu.paging.copy_from(GuestVirt(buffer), min(count, _CHUNK)))
    if count > _CHUNK:
        raise Continuation(cmd, count - _CHUNK, buffer + _CHUNK)
    return 0
