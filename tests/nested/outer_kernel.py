"""The kernel of the machine that has /dev/kvm: Debian's generic one, and a ramdisk that finds this host's files.

Debian's kernels from 6.12 on have KVM's own support for Xen (CONFIG_KVM_XEN); 6.1 has KVM without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xenolith.builder import apt
from xenolith.builder.assets import Assets
from xenolith.builder.cache_directory import cache_directory
from xenolith.builder.cpio import CpioWriter
from xenolith.builder.errors import BuildError
from xenolith.builder.kernel_modules import ModuleTree
from xenolith.builder.kernel_package import fetch_kernel
from xenolith.cli.assets import INIT

METAPACKAGES = ("linux-image-6.12-amd64", "linux-image-amd64")
"""What stands for the kernel, the best first: Debian 12 has both, Debian 13 the second, which is 6.12."""

_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "kvm_amd")
_SCRIPT = Path(__file__).with_name("init")
_DIRECTORIES = ("bin", "dev", "host", "lib", "new", "proc", "root")


@dataclass(frozen=True, slots=True)
class OuterKernel:
    """What QEMU boots."""

    kernel: Path
    ramdisk: Path


def fetch(directory: Path, metapackage: str | None = None) -> OuterKernel:
    """The newest kernel that apt knows, kept in the cache, and a ramdisk in ``directory``; BuildError.

    ``metapackage`` stands for it; None takes the first of :data:`METAPACKAGES` that there is.
    """
    busybox = Assets(INIT, print).ensure("cloud").kernel.with_name("busybox")
    files = fetch_kernel(metapackage or _first_known(), _MODULES, cache_directory() / "nested")
    ramdisk = directory / "ramdisk"
    _build_ramdisk(busybox, files.modules, ramdisk)
    return OuterKernel(files.kernel, ramdisk)


def _first_known() -> str:
    for name in METAPACKAGES[:-1]:
        try:
            return apt.find_package(name).name
        except BuildError:
            continue
    return METAPACKAGES[-1]


def _build_ramdisk(busybox: Path, tree: ModuleTree, path: Path) -> None:
    modules = tree.closure(_MODULES)
    with path.open("wb") as stream, CpioWriter(stream) as archive:
        for directory in _DIRECTORIES:
            archive.directory(directory)
        archive.character_device("dev/console", 5, 1)
        archive.file("bin/busybox", busybox.read_bytes(), 0o755)
        archive.file("init", _SCRIPT.read_bytes(), 0o755)
        for module in modules:
            archive.file(f"lib/{module.name}.ko", module.data)
        archive.file("lib/order", "".join(f"{module.name}\n" for module in modules).encode())
