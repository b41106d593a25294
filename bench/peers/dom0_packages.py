"""Real Xen's programs and its Domain-0's kernel, from Debian's packages, kept in the cache directory.

Nothing is installed: packages are unpacked, and the ramdisk of Domain-0 takes what it needs of them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from xenolith.builder import apt
from xenolith.builder.assets import Assets
from xenolith.builder.cache_directory import cache_directory
from xenolith.builder.kernel_package import fetch_kernel
from xenolith.cli.assets import INIT

RELEASE = "4.17"
"""Of Xen, in Debian 12."""

_PACKAGES = (
    f"xen-hypervisor-{RELEASE}-amd64",
    f"xen-utils-{RELEASE}",
    "xenstore-utils",
    f"libxenmisc{RELEASE}",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
    "libc6",
    "libgcc-s1",
    "liblzma5",
    "libuuid1",
    "libyajl2",
    "libzstd1",
    "zlib1g",
)
_KERNEL = "linux-image-amd64"

DOM0_MODULES = (
    *("virtio_pci", "virtio_console", "virtio_blk", "virtio_net"),
    *("xenfs", "xen_privcmd", "xen_evtchn", "xen_gntdev", "xen_gntalloc"),
    *("xen_blkback", "xen_netback", "bridge"),
)
"""The drivers of Domain-0."""


class Dom0Packages:
    """The packages' files; BuildError where apt does not know them."""

    def __init__(self) -> None:
        self.busybox = Assets(INIT, print).ensure("cloud").kernel.with_name("busybox")
        self.kernel = fetch_kernel(_KERNEL, DOM0_MODULES, _directory())
        self._roots = [_unpacked(apt.find_package(name)) for name in _PACKAGES]

    def all(self, pattern: str) -> list[Path]:
        """The files of these packages that match."""
        return [path for root in self._roots for path in sorted(root.glob(pattern))]

    def only(self, pattern: str) -> Path:
        """The one file of Xen's packages, and of those that they need, that matches."""
        (found,) = self.all(pattern)
        return found


def _directory() -> Path:
    return cache_directory() / "xen"


def _unpacked(package: apt.Package) -> Path:
    kept = _directory() / f"{package.name}_{package.version}"
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as directory:
            apt.fetch(package, Path(directory))
            Path(directory, "root").rename(kept)
    return kept
