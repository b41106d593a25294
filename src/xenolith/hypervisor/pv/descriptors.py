"""Segment descriptors of a PV guest: which it may have, in its GDT and LDT.

Behaves as check_descriptor in xen/arch/x86/pv/descriptor-tables.c: code and data segments of privilege level 3.
"""

from __future__ import annotations

from xenolith.abi.errno import Errno, XenError

_PRESENT = 1 << 47
_SEGMENT = 1 << 44
_DPL = 3 << 45
_TYPE = 0xF << 40
_ACCESSED = 1 << 40


def checked_descriptor(descriptor: int) -> int:
    """A descriptor as it goes into a table: privilege level 3, accessed; XenError(EINVAL).

    The processor would set the accessed bit in a table that it can only read.
    """
    if not descriptor & _PRESENT:
        return descriptor
    if descriptor & _SEGMENT:
        return descriptor | _DPL | _ACCESSED
    if not descriptor & _TYPE:
        # The second half of a system descriptor.
        return descriptor | _DPL
    raise XenError(Errno.EINVAL, f"a system descriptor {descriptor:#x}")


def check_descriptor_page(table: memoryview) -> None:
    """Check the 512 descriptors (format ``Q``) of a frame, and mend them as above; XenError(EINVAL)."""
    mended = [checked_descriptor(descriptor) for descriptor in table.tolist()]
    for index, descriptor in enumerate(mended):
        table[index] = descriptor
