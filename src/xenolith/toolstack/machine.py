"""The seam between a domain process and the machine that it runs: who calls what, in which thread.

A domain process has an I/O thread, which owns every descriptor, and the machine's own hypervisor
thread. Each side has calls posted into the other's thread and never waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from xenolith.backends.xenbus import Guest
from xenolith.builder.image_file import ImageFile
from xenolith.hypervisor.throttle import Throttle
from xenolith.machine.doze import Doze
from xenolith.toolstack.config import DomainConfig
from xenolith.toolstack.core_dump import MemoryStretch
from xenolith.toolstack.status_page import StatusPage
from xenolith.toolstack.xenstore_relay import ByteRing


class Assignment(NamedTuple):
    """The domain that a machine is built for."""

    domid: int
    config: DomainConfig
    kernel: ImageFile | None
    ramdisk: ImageFile | None


class CoreMemory(NamedTuple):
    """Where a core dump finds the guest's memory."""

    fd: int
    """The memory file, which stays open as long as the machine lives."""
    stretches: Sequence[MemoryStretch]


class MachineEvents(Protocol):
    """What a machine tells its process. Call it from the hypervisor thread, or while building."""

    status: StatusPage
    """To be kept up to date by the machine, except for ``paused`` and ``shutdown``."""

    def console_output(self, data: bytes) -> None:
        """The guest printed something."""

    def console_input_wanted(self) -> None:
        """The guest has room again for what ``console_input`` did not take."""

    def xenstore_activity(self) -> None:
        """The guest wrote into its xenstore ring or made room there."""

    def hold(self, reason: str) -> None:
        """Pause the domain until somebody unpauses it, and log why."""

    def shut_down(self, reason: int) -> None:
        """The guest has shut down (SCHEDOP_shutdown, triple fault...); its vCPUs stand still."""

    def log(self, line: str) -> None:
        """The hypervisor has something to say about this domain (`xl dmesg`)."""


class Machine(Protocol):
    """A domain: built, its vCPUs standing still, until it is started and unpaused.

    All calls but ``post``, ``start`` and ``stop`` are made in the hypervisor thread.
    """

    xenstore: ByteRing
    channels: dict[str, tuple[int, int]]
    """The event channel and the frame of the rings ``store`` and ``console``, for xenstore."""

    doze: Doze
    """Where the hypervisor thread sleeps."""

    def start(self) -> None:
        """Start the hypervisor thread. The vCPUs stand still until the first ``unpause``."""

    def post(self, call: Callable[[], None]) -> None:
        """Run a call in the hypervisor thread soon, the guest interrupted; from any thread."""

    def stop(self) -> None:
        """End the hypervisor thread; return when it has made its last call. I/O thread."""

    def release(self) -> None:
        """Give the memory back to the host, once nothing uses it any more. I/O thread.

        What console clients have not read yet may keep the process alive for a while.
        """

    def pause(self) -> None:
        """Hold the vCPUs."""

    def unpause(self) -> None:
        """Let the vCPUs run."""

    def console_input(self, data: bytes) -> int:
        """Type into the guest's console; return how many bytes it had room for."""

    def trigger(self, name: str, vcpu: int) -> None:
        """Send a trigger (nmi, reset, init, power, sleep, s3resume); ValueError: not supported."""

    def set_max_memory(self, kib: int) -> None:
        """Limit the memory that the domain may hold from now on."""

    def throttle(self, throttle: Throttle | None) -> None:
        """Let this decide when vCPUs may run; None: they always may."""

    def set_slices(self, slice_ns: int, wake_slice_ns: int) -> None:
        """Set how long a vCPU's turn lasts, and how much of it is left when another vCPU is woken."""

    def core_memory(self) -> CoreMemory:
        """The guest's memory as it lies now."""

    def guest(self) -> Guest:
        """What the backends of its devices need of the domain. Any thread."""

    def trace(self, sink: Callable[[str], None] | None) -> None:
        """Describe each hypercall from now on to ``sink`` in one line; None ends that."""


MachineFactory = Callable[[Assignment, MachineEvents], Machine]
"""Builds the machine, in the jail; an exception's text is what the user is told."""
