"""A repository of small packages, and an apt that serves it: scripts to be put before PATH."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .images import kernel_module

_APT_CACHE = """#!/bin/sh
echo "apt-cache $*" >> "{root}/calls"
cat "{root}/lists/$3" 2>/dev/null || exit 100
"""

_APT_GET = """#!/bin/sh
echo "apt-get $*" >> "{root}/calls"
for last; do :; done
case $last in
update) cp "{root}"/server/*.record "{root}/lists/" && cd "{root}/lists" &&
    for file in *.record; do mv "$file" "${{file%.record}}"; done ;;
*) cp "{root}/server/$last.deb" . ;;
esac
"""

_MODULES = (
    *("drivers/block/xen-blkfront", "drivers/net/xen-netfront", "drivers/xen/xenfs/xenfs"),
    *("drivers/xen/xen-privcmd", "drivers/xen/xen-evtchn", "drivers/xen/xen-gntdev"),
    *("drivers/xen/xen-gntalloc", "fs/ext4/ext4"),
)


class AptRepository:
    """Packages on the server, the lists that apt knows, and the calls of apt."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        for directory in ("bin", "server", "lists"):
            (root / directory).mkdir(parents=True)
        for name, script in (("apt-cache", _APT_CACHE), ("apt-get", _APT_GET)):
            path = self.bin / name
            path.write_text(script.format(root=root))
            path.chmod(0o755)

    def calls(self) -> list[str]:
        """The calls since the last time, the program and its arguments."""
        path = self.root / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def refresh(self) -> None:
        """What ``apt-get update`` does."""
        subprocess.run([self.bin / "apt-get", "update"], check=True)
        self.calls()

    def publish(self, name: str, version: str, files: dict[str, bytes], depends: str = "") -> None:
        tree = self.root / "tree" / name / version
        (tree / "DEBIAN").mkdir(parents=True)
        record = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
        if depends:
            record += f"Depends: {depends}\n"
        record += "Maintainer: nobody <nobody@example.org>\nDescription: test\n"
        (tree / "DEBIAN" / "control").write_text(record)
        for path, data in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(data)
        (self.root / "server" / f"{name}.record").write_text(record)
        archive = self.root / "server" / f"{name}={version}.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, archive],
            check=True,
            capture_output=True,
        )

    def publish_kernel(self, release: str, modules_root: str = "lib/modules") -> None:
        """A kernel as linux-image-cloud-amd64 stands for it."""
        files = {f"boot/vmlinuz-{release}": f"kernel {release}".encode()}
        modules = f"{modules_root}/{release}"
        files |= {f"{modules}/kernel/{path}.ko": kernel_module(depends="") for path in _MODULES}
        files[f"{modules}/kernel/drivers/large.ko"] = bytes(1 << 20)
        files[f"{modules}/modules.builtin"] = b"kernel/fs/builtin.ko\n"
        name = f"linux-image-{release}"
        self.publish(name, "1-1", files)
        self.publish("linux-image-cloud-amd64", release, {}, f"{name} (= 1-1)")

    def publish_split_kernel(self, release: str) -> None:
        """A kernel in packages of its own, as Debian has it from release 14 on."""
        modules = f"usr/lib/modules/{release}"
        objects = {f"{modules}/kernel/{path}.ko": kernel_module(depends="") for path in _MODULES}
        parts = {
            f"linux-base-{release}": {f"{modules}/modules.builtin": b"kernel/fs/builtin.ko\n"},
            f"linux-binary-{release}": {f"{modules}/vmlinuz": f"kernel {release}".encode()},
            f"linux-modules-{release}": objects,
        }
        for part, files in parts.items():
            self.publish(part, "1-1", files)
        name = f"linux-image-{release}"
        depends = ", ".join(
            ["dracut | initramfs-tools (>= 0.120)", *map("{} (= 1-1)".format, parts)]
        )
        self.publish(name, "1-1", {}, depends)
        self.publish("linux-image-cloud-amd64", release, {}, f"{name} (= 1-1)")

    def publish_busybox(self, path: str = "bin/busybox") -> None:
        self.publish("busybox-static", "1:1.35", {path: b"\x7fELF busybox"})
