"""What the figures were measured on, in a few words."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

from bench.qemu import Qemu


def facts() -> dict[str, str]:
    """The host, by kind of fact."""
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{len(os.sched_getaffinity(0))} x {_processor()}",
        "host": f"Linux {platform.release()}, Python {platform.python_version()}",
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }
    if Qemu.is_installed():
        found["peer"] = Qemu.version()
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
