"""A domain's kernel on the way to the domain's process: as it is, or unpacked there for the cache."""

from __future__ import annotations

import os
import stat

from xenolith.builder.errors import BuildError
from xenolith.builder.image_file import ImageFile
from xenolith.builder.kernel_cache import KernelCache, Slot
from xenolith.builder.packed_kernel import is_packed


class KernelFile:
    """At most one kernel, and the place in the cache that it is unpacked to."""

    def __init__(self, cache: KernelCache) -> None:
        self._cache = cache
        self._slot: Slot | None = None

    def hand_over(self, fd: int, name: str, fds: dict[str, int]) -> None:
        """Add the kernel to descriptors by role, or a packed kernel and where to unpack it.

        ``fd`` is its, whatever comes of this; OSError, BuildError.
        """
        fds["kernel"] = fd
        image = ImageFile(fd, name)
        if not is_packed(image):
            return
        unpacked = self._cache.lookup(image)
        if unpacked is not None:
            os.close(fd)
            fds["kernel"] = unpacked
            return
        self._slot = self._cache.open_slot(image)
        fds["packed-kernel"] = fd
        fds["kernel"] = os.dup(self._slot.fd)

    def keep(self) -> None:
        """The process has unpacked it: the next domain has it from the cache."""
        if self._slot is not None:
            self._cache.commit(self._slot)
            self._slot = None

    def discard(self) -> None:
        """It was not unpacked."""
        if self._slot is not None:
            self._cache.discard(self._slot)
            self._slot = None


def open_regular(path: str) -> int:
    """Open a file for reading that is nothing but a file; OSError, BuildError."""
    # Without O_NONBLOCK, a FIFO would hold up the daemon until somebody wrote to it.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise BuildError(f"{path} is not a regular file")
    return fd
