"""A virtual machine with AMD-V and this host's files: QEMU, whose translator emulates the extension.

A script runs in it as this user, on a layer over the host's files that is thrown away.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .outer_kernel import OuterKernel

PROGRAM = "qemu-system-x86_64"

_MEMORY_MIB = 3072
_START_S = 120
_EXIT = re.compile(r"^NESTED: exit status (\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a script has ended, and what was on the machine's console meanwhile."""

    status: int
    console: str


class MachineError(Exception):
    """The machine did not come as far as the end of the script."""


def run(
    outer: OuterKernel, script: str, directory: Path, environment: Mapping[str, str], limit: float
) -> Outcome:
    """Boot a machine, run a script of sh(1) in it, show its console; MachineError.

    ``directory`` takes the script, ``limit`` is in seconds. The script's environment is
    ``environment`` and nothing else.
    """
    if shutil.which(PROGRAM) is None:
        raise MachineError(f"there is no {PROGRAM}: apt-get install qemu-system-x86")
    file = directory / "script"
    exports = (f"export {name}={shlex.quote(value)}" for name, value in environment.items())
    file.write_text("\n".join(["exec </dev/null 2>&1", *exports, script, ""]))
    with subprocess.Popen(
        _command(outer, file, limit),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            console = _show(process, limit + _START_S)
        finally:
            process.kill()
    found = _EXIT.search(console)
    if found is None:
        raise MachineError("the machine has ended before the script did: see its console")
    return Outcome(int(found[1]), console)


def _command(outer: OuterKernel, script: Path, limit: float) -> list[str]:
    parameters = (
        "console=ttyS0 quiet mitigations=off panic=-1 "
        f"nested.script={script} nested.user={os.getuid()}:{os.getgid()} nested.limit={limit:.0f}"
    )
    files = "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"
    return [
        *(PROGRAM, "-accel", "tcg", "-cpu", "max", "-machine", "q35", "-smp", "1"),
        *("-m", str(_MEMORY_MIB), "-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(outer.kernel), "-initrd", str(outer.ramdisk), "-append", parameters),
        *("-virtfs", files, "-serial", "stdio"),
    ]


def _show(process: subprocess.Popen[bytes], limit: float) -> str:
    """Copy what a process prints to standard output until it ends; return it."""
    assert process.stdout is not None
    deadline = time.monotonic() + limit
    shown = b""
    while True:
        remaining = max(0.0, deadline - time.monotonic())
        if not select.select([process.stdout], [], [], remaining)[0]:
            raise MachineError(f"the machine has not ended after {limit:.0f} s")
        data = os.read(process.stdout.fileno(), 1 << 16)
        if not data:
            return shown.decode(errors="replace")
        shown += data
        sys.stdout.write(data.decode(errors="replace"))
        sys.stdout.flush()
