"""Debian packages through the machine's own apt, as an ordinary user: see apt-get(8), apt-cache(8).

apt knows the mirrors of this machine and checks what comes from them; nothing gets installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from email.parser import HeaderParser
from pathlib import Path

from xenolith.builder.errors import BuildError

_STDERR = 2
_USE_YOUR_OWN = "or use a kernel and a ramdisk of your own (kernel= and ramdisk= in the xl.cfg)"


@dataclass(frozen=True, slots=True)
class Package:
    """The version of a package that apt would install."""

    name: str
    version: str
    depends: str
    parts: tuple[Package, ...] = ()
    """Packages that hold the rest of it, and are fetched with it."""


def find_package(name: str) -> Package:
    """Look a package up in apt's lists, which root may refresh; BuildError if it is not there."""
    package = _show(name)
    if package is None and os.geteuid() == 0:
        _progress("apt-get", "update")
        package = _show(name)
    if package is None:
        raise BuildError(
            f"apt knows no package {name}: refresh its lists with 'sudo apt-get update', "
            + _USE_YOUR_OWN
        )
    return package


def find_kernel(metapackage: str) -> Package:
    """The package of the kernel that a package such as linux-image-amd64 stands for."""
    package = find_package(metapackage)
    image = re.search(r"\blinux-image-\d[^\s,]*", package.depends)
    if image is None:
        raise BuildError(f"the package {metapackage} depends on no kernel; {_USE_YOUR_OWN}")
    kernel = find_package(image[0])
    # From Debian 14 on the image and its modules are in packages that it wants in its own version.
    exact = re.findall(r"([^\s,|]+) \(= ([^)]+)\)", kernel.depends)
    parts = tuple(find_package(name) for name, version in exact if version == kernel.version)
    return replace(kernel, parts=parts)


def fetch(package: Package, directory: Path) -> None:
    """Download a package and its parts into ``directory`` and unpack their files there, below ``root``.

    apt's progress goes to standard error. BuildError if apt cannot fetch it.
    """
    # As root apt would download as another user, who has no access to the directory.
    as_root = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    wanted = f"{package.name}={package.version}"
    if _progress("apt-get", *as_root, "download", wanted, cwd=directory) != 0:
        raise BuildError(
            f"apt could not fetch {package.name} {package.version} (its messages are above): "
            f"try again, refresh its lists with 'sudo apt-get update', {_USE_YOUR_OWN}"
        )
    archives = list(directory.glob("*.deb"))
    if len(archives) != 1:
        raise BuildError(f"apt fetched {len(archives)} files for {package.name} instead of one")
    if _progress("dpkg-deb", "-x", str(archives[0]), str(directory / "root")) != 0:
        raise BuildError(f"the package {package.name} {package.version} cannot be unpacked")
    archives[0].unlink()
    for part in package.parts:
        fetch(part, directory)


def _show(name: str) -> Package | None:
    command = ["apt-cache", "show", "--no-all-versions", name]
    try:
        run = subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise _no_apt() from None
    record = HeaderParser().parsestr(run.stdout)
    if run.returncode != 0 or record["Version"] is None:
        return None
    return Package(record["Package"], record["Version"], record.get("Depends", ""))


def _progress(*command: str, cwd: Path | None = None) -> int:
    """Run a command whose messages are for the user; return its exit status."""
    sys.stderr.flush()
    try:
        run = subprocess.run(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=_STDERR, check=False
        )
    except FileNotFoundError:
        raise _no_apt() from None
    return run.returncode


def _no_apt() -> BuildError:
    return BuildError(
        f"guests are made from Debian's packages, and there is no apt: {_USE_YOUR_OWN[3:]}"
    )
