"""Installs what the benchmarks need of the distribution, where that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

from bench.qemu import PACKAGE, Qemu

_APT = ("apt-get", "-q", "-y")


def ensure_peer(report: Callable[[str], None]) -> bool:
    """Whether QEMU is there, after installing it if we may."""
    if Qemu.is_installed():
        return True
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        report(f"No peer: install {PACKAGE} to compare with QEMU (apt-get install {PACKAGE}).")
        return False
    report(f"Installing {PACKAGE}, the peer")
    for command in (["update"], ["install", "--no-install-recommends", PACKAGE]):
        done = subprocess.run(
            [*_APT, *command],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            check=False,
        )
    if not Qemu.is_installed():
        report(f"No peer: {PACKAGE} could not be installed: {done.stderr.strip()}")
    return Qemu.is_installed()
