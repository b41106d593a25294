"""The peer: the distribution's QEMU without hardware virtualisation, booting the kernel directly.

QEMU enters an uncompressed ELF kernel with a Xen PVH note as Xen does, in 32-bit mode with a
start-info structure, so it runs the same kernel with as little firmware as can be.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.console_log import ConsoleLog
from bench.errors import BenchError
from bench.guest import WAIT_S, GuestSpec, Launch

PROGRAM = "qemu-system-x86_64"


class Qemu:
    """Starts guests; their consoles are files in ``directory``.

    ``unpack`` gives the ELF image of a kernel.
    """

    def __init__(self, directory: Path, unpack: Callable[[Path], Path]) -> None:
        self._directory = directory
        self._unpack = unpack
        self._started = 0

    @staticmethod
    def version() -> str:
        """What the program calls itself."""
        return subprocess.check_output([PROGRAM, "--version"], text=True).splitlines()[0]

    @staticmethod
    def is_installed() -> bool:
        """Whether there is a peer."""
        return shutil.which(PROGRAM) is not None

    def start(self, spec: GuestSpec) -> QemuGuest:
        """Start a guest, its serial and debug ports written to one file."""
        self._started += 1
        path = self._directory / f"qemu-{self._started}.log"
        console = ConsoleLog(path)
        arguments = [
            *(PROGRAM, "-accel", "tcg", "-cpu", "max", "-display", "none", "-no-reboot"),
            *("-smp", str(spec.vcpus), "-m", str(spec.memory)),
            *("-kernel", str(self._unpack(spec.kernel))),
            *("-chardev", f"file,id=console,path={path},append=on"),
            *("-serial", "chardev:console"),
            *("-device", "isa-debugcon,iobase=0xe9,chardev=debug"),
            *("-chardev", f"file,id=debug,path={path},append=on"),
            *("-append", f"console=ttyS0 {spec.command_line}"),
        ]
        if spec.vif:
            arguments += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"]
        if spec.disk is not None:
            path, image_format = spec.disk
            arguments += ["-drive", f"file={path},format={image_format},if=virtio"]
        if spec.ramdisk is not None:
            arguments += ["-initrd", str(spec.ramdisk)]
        return QemuGuest(spec, console, Launch(arguments))


class QemuGuest:
    """One guest and the QEMU process that runs it."""

    def __init__(self, spec: GuestSpec, console: ConsoleLog, launch: Launch) -> None:
        self.spec = spec
        self.console = console
        self._launch = launch

    @property
    def pid(self) -> int:
        """See Guest."""
        return self._launch.process.pid

    def fileno(self) -> int:
        """See Launcher."""
        return self._launch.fileno()

    def check_end(self) -> None:
        """See Launcher."""
        raise BenchError(f"QEMU has ended: {self._launch.wait() or 'it said nothing'}")

    def wait_for(self, marker: bytes, timeout: float = WAIT_S) -> float:
        """See Guest."""
        seen = self.console.wait_for(marker, time.perf_counter() + timeout, self)
        return seen - self._launch.started

    def stop(self) -> None:
        """See Guest."""
        self._launch.process.kill()
        self._launch.wait()
        self._launch.close()
