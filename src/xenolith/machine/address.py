"""Addresses of the different worlds, each a type of its own so that none is used as another.

The vocabulary is that of Xen's include/xen/mm.h: *gfn* numbers a frame as the guest counts them,
*mfn* as the machine (here: the domain's memory file) does; addresses are bytes.
"""

from __future__ import annotations

from typing import NewType

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT

Gfn = NewType("Gfn", int)
"""A guest frame number: an index into what the guest calls its physical memory."""

Mfn = NewType("Mfn", int)
"""A machine frame number: an index into the domain's memory file."""

GuestPhys = NewType("GuestPhys", int)
"""A guest-physical byte address."""

GuestVirt = NewType("GuestVirt", int)
"""A guest-virtual (linear) byte address; only meaningful with a vCPU's page tables."""


def gfn_of(address: GuestPhys) -> Gfn:
    """The frame that holds a guest-physical address."""
    return Gfn(address >> PAGE_SHIFT)
