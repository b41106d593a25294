"""How a hypercall reaches the arguments that its caller left in guest memory.

The counterpart of Xen's copy_from_guest and copy_to_guest (xen/include/xen/guest_access.h) and of
hypercall_create_continuation: whatever is read is a copy, to be validated before it is used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

from xenolith.abi.layout import Layout
from xenolith.machine.address import GuestVirt

T = TypeVar("T", bound=tuple[Any, ...])

LONG_WORD = 8

UINT = 0xFFFFFFFF
"""The part that counts of an argument which Xen declares as int or unsigned int: above it is anything."""


class GuestAccess(Protocol):
    """The calling vCPU's view of its memory, through its own page tables."""

    word: int
    """Bytes of an unsigned long, a pointer or a frame number of the caller's: 8, or 4 in a 32-bit hypercall."""

    def copy_from(self, address: GuestVirt, size: int) -> bytes:
        """Return ``size`` bytes at ``address``; XenError(EFAULT) where nothing is mapped."""
        ...

    def copy_to(self, address: GuestVirt, data: bytes) -> None:
        """Store ``data`` at ``address``; XenError(EFAULT) where it may not be written."""
        ...


class Continuation(Exception):  # noqa: N818 - it reports progress, not an error
    """A hypercall did part of its work and is to be made again with ``arguments``, or the one of ``number`` is.

    The dispatcher lets pending work of the domain run in between, so that a batch of any length
    cannot keep the hypervisor from it.
    """

    def __init__(self, *arguments: int, number: int | None = None) -> None:
        super().__init__(arguments)
        self.arguments = arguments
        self.number = number


def layout_of(access: GuestAccess, layout: Layout[T]) -> Layout[T]:
    """A struct as the caller has it."""
    return layout if access.word == LONG_WORD else layout.compat


def read_struct(access: GuestAccess, layout: Layout[T], address: GuestVirt) -> T:
    """Copy one struct in; XenError(EFAULT)."""
    layout = layout if access.word == LONG_WORD else layout.compat
    return layout.unpack(access.copy_from(address, layout.size))


def write_struct(access: GuestAccess, layout: Layout[T], address: GuestVirt, record: T) -> None:
    """Copy one struct out, its padding zeroed; XenError(EFAULT)."""
    layout = layout if access.word == LONG_WORD else layout.compat
    access.copy_to(address, layout.pack(record))


def read_words(access: GuestAccess, address: int, start: int, count: int) -> list[int]:
    """Copy ``count`` items in, from the one numbered ``start`` on, of an array of words; XenError(EFAULT)."""
    word = access.word
    data = access.copy_from(GuestVirt(address + start * word), count * word)
    return memoryview(data).cast("Q" if word == LONG_WORD else "I").tolist()


def write_words(access: GuestAccess, address: int, values: Iterable[int]) -> None:
    """Copy an array of words out, as much of each as a word holds; XenError(EFAULT)."""
    word = access.word
    mask = (1 << 8 * word) - 1
    data = b"".join((value & mask).to_bytes(word, "little") for value in values)
    access.copy_to(GuestVirt(address), data)


def pointer(access: GuestAccess, value: int) -> GuestVirt:
    """A pointer of the caller's from a field of 64 bits, of which a 32-bit guest sets the lower half."""
    return GuestVirt(value & (1 << 8 * access.word) - 1)
