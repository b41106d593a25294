"""physdev_op: physical devices, of which an HVM domain without passed-through ones has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError

if TYPE_CHECKING:
    from xenolith.hypervisor.vcpu import Vcpu


def physdev_op(_vcpu: Vcpu, cmd: int, _argument: int, _a3: int, _a4: int, _a5: int) -> int:
    """physdev_op(cmd, arg): -ENOSYS, as Xen answers a domain that has no PIRQs."""
    raise XenError(Errno.ENOSYS, f"physical device operation {cmd}")
