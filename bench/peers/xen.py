"""Real Xen as a peer: Debian's, in QEMU's emulator, with a Domain-0 that creates the guest to be measured.

QEMU starts Xen as a multiboot kernel; its modules are Domain-0's kernel and ramdisk. The guest's
time begins when Domain-0 begins `xl create`.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from pathlib import Path

from bench.console_log import ConsoleLog
from bench.errors import BenchError
from bench.guest import WAIT_S, GuestSpec, Launch
from bench.peers import dom0
from bench.peers.dom0_packages import RELEASE, Dom0Packages
from bench.qemu import PROGRAM, Qemu

_DOM0_MIB, _XEN_MIB = 768, 256
_DOM0_S = 300.0
"""Seconds that Xen and Domain-0 may take to boot."""
_SLOWER = 3
_CREATE = b"XEN: create"

# As QEMU 7.2 emulates them, SMAP breaks PV Domain-0s, and RDTSCP, which Xen intercepts, PVH guests.
_PROCESSOR = "max,-smap,-rdtscp"
_XEN_OPTIONS = (
    f"com1=115200,8n1 console=com1 noreboot spec-ctrl=no dom0_mem={_DOM0_MIB}M,max:{_DOM0_MIB}M"
)
_DOM0_OPTIONS = "console=hvc0 quiet mitigations=off"


class Xen:
    """Starts guests, each below a Xen of its own; BenchError without QEMU, BuildError without Xen's packages.

    ``unpack`` gives the ELF image of a kernel.
    """

    def __init__(self, directory: Path, unpack: Callable[[Path], Path]) -> None:
        if not Qemu.is_installed():
            raise BenchError(
                f"there is no {PROGRAM} to run Xen in: apt-get install qemu-system-x86"
            )
        self._directory = directory
        self._unpack = unpack
        self._packages = Dom0Packages()
        self._xen = directory / "xen"
        packed = self._packages.only(f"boot/xen-{RELEASE}-amd64.gz")
        self._xen.write_bytes(gzip.decompress(packed.read_bytes()))
        self._started = 0

    def start(self, spec: GuestSpec) -> XenGuest:
        """Start Xen, which takes a while before it starts the guest."""
        self._started += 1
        ramdisk = self._directory / "dom0.cpio"
        dom0.write_ramdisk(self._packages, spec, self._unpack(spec.kernel), ramdisk)
        console = ConsoleLog(self._directory / f"xen-{self._started}.log")
        arguments = [
            *(PROGRAM, "-accel", "tcg", "-cpu", _PROCESSOR, "-machine", "q35", "-smp", "1"),
            *("-m", str(_XEN_MIB + _DOM0_MIB + spec.memory), "-nodefaults", "-display", "none"),
            *("-no-reboot", "-kernel", str(self._xen), "-append", _XEN_OPTIONS),
            *("-initrd", f"{self._packages.kernel.kernel} {_DOM0_OPTIONS},{ramdisk}"),
            *("-serial", f"file:{self._dom0_log}", "-device", "virtio-serial"),
            *("-chardev", f"file,id=guest,path={console.path}"),
            *("-device", "virtserialport,chardev=guest,name=guest"),
        ]
        if spec.vif:
            arguments += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"]
        if spec.disk is not None:
            path, image_format = spec.disk
            arguments += ["-drive", f"file={path},format={image_format},if=virtio"]
        return XenGuest(spec, console, Launch(arguments), self._dom0_log)

    @property
    def _dom0_log(self) -> Path:
        return self._directory / f"dom0-{self._started}.log"


class XenGuest:
    """One guest, and the QEMU process that runs Xen."""

    def __init__(
        self, spec: GuestSpec, console: ConsoleLog, launch: Launch, dom0_log: Path
    ) -> None:
        self.spec = spec
        self.console = console
        self._launch = launch
        self._dom0_log = dom0_log
        self._created: float | None = None

    @property
    def pid(self) -> int:
        """See Guest; it runs Domain-0 as well."""
        return self._launch.process.pid

    def fileno(self) -> int:
        """See Launcher."""
        return self._launch.fileno()

    def check_end(self) -> None:
        """See Launcher."""
        said = self._launch.wait() or self._dom0_log.read_text(errors="replace")
        lines = said.strip().splitlines() or ["it said nothing"]
        raise BenchError(f"Xen has ended: {' / '.join(lines[-4:])}")

    def wait_for(self, marker: bytes, timeout: float = WAIT_S) -> float:
        """See Guest; seconds since `xl create` has begun."""
        if self._created is None:
            deadline = time.perf_counter() + _DOM0_S
            self._created = self.console.wait_for(_CREATE, deadline, self)
        # It runs on two hypervisors, on a machine that may be busy.
        deadline = time.perf_counter() + _SLOWER * timeout
        return self.console.wait_for(marker, deadline, self) - self._created

    def stop(self) -> None:
        """See Guest."""
        self._launch.process.kill()
        self._launch.wait()
        self._launch.close()
