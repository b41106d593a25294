"""Builds the ramdisk of a Linux guest: busybox, our init and the modules that a guest needs.

The archive is not compressed: unpacking 2 MB takes an emulated guest 0.12 s as it is and 0.25 s or
more when compressed, and the ramdisk is read from the host's page cache anyway.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from xenolith.builder.cpio import CpioWriter
from xenolith.builder.kernel_modules import KernelModule, ModuleTree

_DIRECTORIES = (
    *(
        "bin",
        "dev",
        "etc",
        "etc/udhcpc",
        "lib",
        "lib/modules",
        "mnt",
        "proc",
        "root",
        "run",
        "sbin",
        "sys",
    ),
    *("tmp", "var"),
)
_MODPROBE = "sbin/modprobe"
"""Where the kernel itself looks for a program to load a module that it misses."""

_MODULES_OF_EVERY_KERNEL = (
    *("xen_blkfront", "xen_netfront", "xenfs", "xen_privcmd", "xen_evtchn"),
    *("xen_gntdev", "xen_gntalloc", "ext4"),
)
_MODULES_OF_SOME_KERNELS = ("crc32c_generic",)
"""ext4 asks for it by a crypto alias, which is no dependency; Linux 6.14 no longer has it."""

GUEST_MODULES = (*_MODULES_OF_EVERY_KERNEL, *_MODULES_OF_SOME_KERNELS)
"""The modules that a guest needs; what these need in turn comes with them."""


PEER_MODULES = ("virtio_pci", "virtio_net", "virtio_blk")
"""What the same guest needs under QEMU, beside which it is measured; they are in no ramdisk of ours."""


def peer_modules(modules: ModuleTree) -> list[KernelModule]:
    """The modules for QEMU, in an order in which they can be loaded."""
    return modules.closure([name for name in PEER_MODULES if modules.has(name)])


def guest_modules(modules: ModuleTree) -> list[KernelModule]:
    """The modules of the ramdisk, in an order in which they can be loaded."""
    optional = [name for name in _MODULES_OF_SOME_KERNELS if modules.has(name)]
    return modules.closure([*_MODULES_OF_EVERY_KERNEL, *optional])


def build_initramfs(busybox: Path, init: Path, modules: ModuleTree, stream: BinaryIO) -> None:
    """Write the archive; the same inputs give the same bytes.

    ``busybox`` is a statically linked busybox, ``init`` the directory that holds inittab
    and the scripts init, udhcpc.script (for busybox's DHCP client), and poweroff and reboot,
    which the kernel calls.
    """
    with CpioWriter(stream) as archive:
        for directory in _DIRECTORIES:
            archive.directory(directory)
        # The kernel opens the console before init runs, so before devtmpfs is mounted.
        archive.character_device("dev/console", 5, 1)
        archive.file("bin/busybox", busybox.read_bytes(), 0o755)
        archive.symlink("bin/sh", "busybox")
        archive.symlink(_MODPROBE, "../bin/busybox")
        archive.file("init", (init / "init").read_bytes(), 0o755)
        archive.file("etc/inittab", (init / "inittab").read_bytes())
        script = (init / "udhcpc.script").read_bytes()
        archive.file("etc/udhcpc/default.script", script, 0o755)
        for name in ("poweroff", "reboot"):
            archive.file(f"sbin/{name}", (init / name).read_bytes(), 0o755)
        _add_modules(archive, modules.release, guest_modules(modules))


def _add_modules(archive: CpioWriter, release: str, modules: list[KernelModule]) -> None:
    root = f"lib/modules/{release}"
    directories = {root}
    for module in modules:
        parents = Path(root, module.path).parents
        directories |= {str(parent) for parent in parents if parent.is_relative_to(root)}
    for directory in sorted(directories):
        archive.directory(directory)
    for module in modules:
        archive.file(f"{root}/{module.path}", module.data)
    archive.file(f"{root}/modules.dep", modules_dep(modules).encode())
    archive.file(f"{root}/modules.alias", modules_alias(modules).encode())


def modules_dep(modules: list[KernelModule]) -> str:
    """What depmod writes: each module's file, then those to load first, the first one last."""
    by_name = {module.name: module for module in modules}

    def needed(module: KernelModule) -> dict[str, None]:
        """The paths of what a module needs, in the order of loading."""
        paths: dict[str, None] = {}
        for name in module.depends:
            if name in by_name:
                paths |= needed(by_name[name])
                paths[by_name[name].path] = None
        return paths

    lines = [" ".join([f"{module.path}:", *reversed(needed(module))]) for module in modules]
    return "".join(f"{line}\n" for line in lines)


def modules_alias(modules: list[KernelModule]) -> str:
    """What depmod writes: every alias of every module."""
    return "".join(
        f"alias {alias} {module.name}\n" for module in modules for alias in module.aliases
    )
