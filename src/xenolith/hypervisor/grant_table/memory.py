"""What a grant table needs of its domain's memory.

The counterpart of the p2m and page allocation calls in Xen's common/grant_table.c and
arch/x86/hvm/grant_table.c.
"""

from __future__ import annotations

from typing import Protocol

from xenolith.machine.address import Gfn, Mfn


class GrantMemory(Protocol):
    """The frames of one domain, and where in its physical address space they are."""

    def allocate_frame(self) -> Mfn:
        """A zeroed frame that is not part of the guest's RAM; XenError(ENOMEM)."""
        ...

    def free_frame(self, mfn: Mfn) -> None:
        """Take such a frame back, out of the guest's physical address space as well."""
        ...

    def frame(self, mfn: Mfn) -> memoryview:
        """A new writable view (format ``B``) of one frame."""
        ...

    @property
    def view(self) -> memoryview:
        """A writable view of all frames, by machine byte address."""
        ...

    def mfn_of(self, gfn: Gfn) -> Mfn | None:
        """The frame behind any guest frame number; None where there is none."""
        ...

    def gfn_of(self, mfn: Mfn) -> Gfn | None:
        """Where the guest has put a frame from :meth:`allocate_frame`; None if nowhere."""
        ...

    def written(self, gfn: Gfn, count: int = 1) -> None:
        """Frames of the guest's were written by someone else, who may have changed its code."""
        ...

    def map_grant(self, gfn: Gfn, mfn: Mfn, readonly: bool) -> None:
        """Show a granted frame at a guest frame number; XenError if it cannot be there."""
        ...

    def unmap_grant(self, gfn: Gfn, mfn: Mfn) -> None:
        """Undo :meth:`map_grant`, keeping the frame; XenError if it is not mapped there."""
        ...
