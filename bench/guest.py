"""A guest of either hypervisor: what it is made from, and how it is watched and ended."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.console_log import ConsoleLog

WAIT_S = 120.0
"""Seconds that anything may take which takes seconds."""

OWN_GROUP = 0
"""A terminal's Ctrl-C is for the benchmark, which ends what it has started in good order."""


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """One guest; ``command_line`` is without ``console=``, memory is in MiB."""

    kernel: Path
    ramdisk: Path | None = None
    command_line: str = ""
    memory: int = 32
    vif: tuple[str, ...] = ()
    """Network interfaces as in xl.cfg; the peer's first is on its user-mode network, and the only one."""
    disk: tuple[Path, str] | None = None
    """An image and its format, for the guest to write to."""
    type: str = "pvh"
    """As in xl.cfg; a peer has no other."""
    vcpus: int = 1
    engine: str = "auto"
    """As in xl.cfg; a peer has no other."""

    @property
    def memory_bytes(self) -> int:
        """The size of its RAM."""
        return self.memory << 20


class Guest(Protocol):
    """A guest that has been started."""

    spec: GuestSpec
    console: ConsoleLog

    @property
    def pid(self) -> int:
        """The process that runs it."""

    def wait_for(self, marker: bytes, timeout: float = WAIT_S) -> float:
        """Seconds from its start until the marker was on its console; BenchError without it."""

    def stop(self) -> None:
        """End it; return when it has ended."""


class Hypervisor(Protocol):
    """What runs guests."""

    def start(self, spec: GuestSpec) -> Guest:
        """Start a guest; do not wait for it."""


class Launch:
    """A program that has been started, and since when (time.perf_counter()) it runs."""

    def __init__(
        self, arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> None:
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            process_group=OWN_GROUP,
        )
        self._pidfd = os.pidfd_open(self.process.pid)
        self._errors: bytes | None = None

    def fileno(self) -> int:
        """A pidfd."""
        return self._pidfd

    def wait(self) -> str:
        """Wait for its end; return what it said on standard error."""
        if self._errors is None:
            _, self._errors = self.process.communicate()
        return self._errors.decode(errors="replace").strip()

    def close(self) -> None:
        """Forget it; it has ended and has been waited for."""
        os.close(self._pidfd)
