"""How a hypercall reaches the arguments that its caller left in guest memory.

The counterpart of Xen's copy_from_guest and copy_to_guest (xen/include/xen/guest_access.h) and of
hypercall_create_continuation: whatever is read is a copy, to be validated before it is used.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from xenolith.abi.layout import Layout
from xenolith.machine.address import GuestVirt

T = TypeVar("T", bound=tuple[Any, ...])


class GuestAccess(Protocol):
    """The calling vCPU's view of its memory, through its own page tables."""

    def copy_from(self, address: GuestVirt, size: int) -> bytes:
        """Return ``size`` bytes at ``address``; XenError(EFAULT) where nothing is mapped."""
        ...

    def copy_to(self, address: GuestVirt, data: bytes) -> None:
        """Store ``data`` at ``address``; XenError(EFAULT) where it may not be written."""
        ...


class Continuation(Exception):  # noqa: N818 - it reports progress, not an error
    """A hypercall did part of its work and is to be made again with ``arguments``.

    The dispatcher lets pending work of the domain run in between, so that a batch of any length
    cannot keep the hypervisor from it.
    """

    def __init__(self, *arguments: int) -> None:
        super().__init__(arguments)
        self.arguments = arguments


def read_struct(access: GuestAccess, layout: Layout[T], address: GuestVirt) -> T:
    """Copy one struct in; XenError(EFAULT)."""
    return layout.unpack(access.copy_from(address, layout.size))


def write_struct(access: GuestAccess, layout: Layout[T], address: GuestVirt, record: T) -> None:
    """Copy one struct out, its padding zeroed; XenError(EFAULT)."""
    access.copy_to(address, layout.pack(record))
