"""Runs what this checkout holds in a machine with /dev/kvm, with this interpreter's programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from . import machine
from .outer_kernel import OuterKernel

KERNEL_VARIABLE = "XENOLITH_NESTED_KERNEL"
"""In the environment it names the package that stands for the machine's kernel."""

_ROOT = Path(__file__).parents[2]
_INHERITED = ("PYTHONPATH", "XDG_CACHE_HOME", "XENOLITH_CACHE_DIR")


def run(outer: OuterKernel, script: str, directory: Path, limit: float) -> machine.Outcome:
    """Run a script of sh(1) in the checkout, ``limit`` seconds at most; MachineError.

    Daemons live in ``directory`` as the machine sees it, so this host's are not disturbed.
    """
    environment = {
        "HOME": str(Path.home()),
        "LANG": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "XENOLITH_RUN_DIR": str(directory / "run"),
        **{name: os.environ[name] for name in _INHERITED if name in os.environ},
    }
    return machine.run(outer, f"cd '{_ROOT}'\n{script}", directory, environment, limit)
