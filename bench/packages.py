"""Installs what the benchmarks need of the distribution, where that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench.qemu import Qemu

_NEEDED: dict[str, Callable[[], bool]] = {
    "qemu-system-x86": Qemu.is_installed,
    "gcc": lambda: shutil.which("gcc") is not None,
    "libc6-dev": Path("/usr/lib/x86_64-linux-gnu/libc.a").exists,
    "libxen-dev": Path("/usr/include/xen/xen.h").exists,
}
"""Debian's packages, and how to tell that one is there."""

_APT = ("apt-get", "-q", "-y")


def ensure(report: Callable[[str], None]) -> None:
    """Install what is missing if we may; report what is missing then.

    The figures that need it are left out: without QEMU, those of the peer.
    """
    missing = _missing()
    if not missing:
        return
    if os.geteuid() == 0 and shutil.which("apt-get") is not None:
        report(f"Installing {' '.join(missing)}")
        _apt("update")
        _apt("install", "--no-install-recommends", *missing)
        missing = _missing()
    if missing:
        report(f"Some figures will be missing: they need the packages {' '.join(missing)}")


def _missing() -> list[str]:
    return [package for package, is_there in _NEEDED.items() if not is_there()]


def _apt(*arguments: str) -> None:
    subprocess.run(
        [*_APT, *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdout=subprocess.DEVNULL,
        check=False,
    )
