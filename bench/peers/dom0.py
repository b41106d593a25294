"""Domain-0 as a ramdisk: busybox, Xen's daemons and xl, drivers, and the one domain that is to be created."""

from __future__ import annotations

import json
from pathlib import Path

from bench.guest import GuestSpec
from bench.peers.dom0_packages import DOM0_MODULES, RELEASE, Dom0Packages
from xenolith.builder.cpio import CpioWriter

_HERE = Path(__file__).parent
_PROGRAMS = ("xenconsoled", "xenstored", "xen-init-dom0", "xl")
_DIRECTORIES = (
    *(
        "bin",
        "dev",
        "etc",
        "etc/xen",
        "etc/xen/scripts",
        "guest",
        "lib",
        "lib/x86_64-linux-gnu",
        "lib64",
    ),
    *("modules", "proc", "run", "sbin", "sys", "usr", "usr/lib", f"usr/lib/xen-{RELEASE}"),
    *(f"usr/lib/xen-{RELEASE}/bin", "var", "var/lib", "var/log"),
)
_XL_CONF = b'autoballoon="0"\n'

DISK = "/dev/vda"
"""The guest's disk as Domain-0 has it."""


def write_ramdisk(packages: Dom0Packages, spec: GuestSpec, kernel: Path, path: Path) -> None:
    """Write the archive that makes Domain-0 create a domain; ``kernel`` is the guest's, as ELF."""
    with path.open("wb") as stream, CpioWriter(stream) as archive:
        for directory in _DIRECTORIES:
            archive.directory(directory)
        archive.character_device("dev/console", 5, 1)
        archive.file("bin/busybox", packages.busybox.read_bytes(), 0o755)
        archive.file("init", (_HERE / "dom0_init").read_bytes(), 0o755)
        archive.symlink("var/run", "../run")
        _add_programs(archive, packages)
        _add_modules(archive, packages)
        archive.file("etc/xen/xl.conf", _XL_CONF)
        script = (_HERE / "dom0_hotplug").read_bytes()
        for name in ("block", "vif-bridge"):
            archive.file(f"etc/xen/scripts/{name}", script, 0o755)
        archive.file("guest/kernel", kernel.read_bytes())
        if spec.ramdisk is not None:
            archive.file("guest/ramdisk", spec.ramdisk.read_bytes())
        archive.file("guest/xl.cfg", _xl_cfg(spec).encode())


def _add_programs(archive: CpioWriter, packages: Dom0Packages) -> None:
    # Packages have their libraries in either place; the dynamic linker looks into both.
    for library in [*packages.all("lib/*/lib*.so*"), *packages.all("usr/lib/*/lib*.so*")]:
        name = f"lib/x86_64-linux-gnu/{library.name}"
        if library.is_symlink():
            archive.symlink(name, library.readlink().name)
        else:
            archive.file(name, library.read_bytes(), 0o755)
    loader = packages.only("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    archive.file("lib64/ld-linux-x86-64.so.2", loader.read_bytes(), 0o755)
    for name in _PROGRAMS:
        program = packages.only(f"usr/lib/xen-{RELEASE}/bin/{name}")
        archive.file(f"usr/lib/xen-{RELEASE}/bin/{name}", program.read_bytes(), 0o755)
    for name in ("xenstore-read", "xenstore-write"):
        archive.file(f"bin/{name}", packages.only(f"usr/bin/{name}").read_bytes(), 0o755)


def _add_modules(archive: CpioWriter, packages: Dom0Packages) -> None:
    modules = packages.kernel.modules.closure(DOM0_MODULES)
    for module in modules:
        archive.file(f"modules/{module.name}.ko", module.data)
    archive.file("modules/order", "".join(f"{module.name}\n" for module in modules).encode())


def _xl_cfg(spec: GuestSpec) -> str:
    lines: dict[str, object] = {
        "name": "guest",
        "type": spec.type,
        "kernel": "/guest/kernel",
        "memory": spec.memory,
        "vcpus": spec.vcpus,
        "cmdline": f"console=hvc0 {spec.command_line}",
    }
    if spec.ramdisk is not None:
        lines["ramdisk"] = "/guest/ramdisk"
    if spec.vif:
        lines["vif"] = ["bridge=xenbr0"]
    if spec.disk is not None:
        lines["disk"] = [f"phy:{DISK},xvda,w"]
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
