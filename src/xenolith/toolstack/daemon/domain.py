"""One domain as the daemon sees it: its process, its status page, and who waits for its end."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from xenolith.abi.sched import ShutdownReason
from xenolith.abi.vcpu import Runstate
from xenolith.machine.event_loop import Timer
from xenolith.toolstack import paths, status_page
from xenolith.toolstack.config import DomainConfig
from xenolith.toolstack.daemon import domain_files
from xenolith.toolstack.daemon.domain_files import DomainRecord
from xenolith.toolstack.domain_scheduling import Orders
from xenolith.toolstack.records import DomainEnd, DomainInfo, VcpuInfo
from xenolith.toolstack.rpc_loop import LoopConnection, Request

_CPUCLOCK_SCHED = 2


class Domain:
    """A domain from the choice of its domid until nothing of it is left."""

    def __init__(self, domid: int, config: DomainConfig, created: float) -> None:
        self.domid = domid
        self.config = config
        self.created = created
        """Seconds since the epoch."""
        self.pid: int | None = None
        self.pidfd: int | None = None
        self.status_fd: int | None = None
        self.console: tuple[str, int] | None = None
        """The file of its console's log and where in it this domain begins; None if it was
        created by an earlier daemon."""
        self.connection: LoopConnection | None = None
        """To the domain's process; None while there is none, or not yet, or not any more."""
        self.building = True
        """Its creation is still under way."""
        self.process_ended = False
        self.crashed = False
        """Its process ended without having been told to."""
        self.dying = False
        self.released = False
        """Nothing of it is left."""
        self.preserved = False
        """Its end has been dealt with, and it stays for somebody to look at."""
        self.ending = False
        """Its end is being dealt with: a core dump is written, a restart is due."""
        self.restart: Callable[[], int | None] | None = None
        """Makes the domain's successor once its own place is free, and returns the domid."""
        self.nic_numbers: set[int] = set()
        """Numbers of network interfaces that its guest may remember."""
        self.orders: Orders | None = None
        """The scheduling parameters that its process has been told by this daemon."""
        self.timer: Timer | None = None
        """Restarts it later, or kills its process if that does not end by itself."""
        self.waiters: list[Request] = []
        """Requests to be answered with how it ended."""
        self._when_built: list[Callable[[], None]] = []
        self._when_gone: list[Callable[[], None]] = []
        self._process_started: int | None = None
        self._log_fd: int | None = None

    @property
    def name(self) -> str:
        """The name that no other domain has."""
        return self.config.name

    @property
    def status(self) -> status_page.Status:
        """What the status page says now."""
        if self.status_fd is None:
            return status_page.Status(True, None, 0, 0, [])
        return status_page.read(self.status_fd)

    @property
    def shutdown_reason(self) -> int | None:
        """Why the domain has shut down; None if it has not."""
        reason = self.status.shutdown_reason
        if reason is None and self.crashed:
            return ShutdownReason.crash
        return reason

    def take_process(self, pid: int, pidfd: int) -> None:
        """The domain's process has been found; owns the pidfd."""
        self.pid = pid
        self.pidfd = pidfd
        self._process_started = domain_files.process_started(pid)

    def save(self) -> None:
        """Make the record of this domain what it is now; OSError."""
        domain_files.save(
            DomainRecord(
                self.domid,
                self.config.to_dict(),
                self.created,
                self.pid,
                self._process_started,
                self.building,
                self.preserved,
            )
        )

    def change(self, **settings: Any) -> None:
        """Change members of its configuration, checked before; OSError: it keeps the old ones."""
        old = self.config
        self.config = dataclasses.replace(old, **settings)
        try:
            self.save()
        except OSError:
            self.config = old
            raise

    def kill(self) -> None:
        """End the domain's process at once."""
        if self.pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def open_log(self) -> int:
        """The domain's own log, for its process's last words; kept open here as well; OSError."""
        if self._log_fd is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._log_fd = os.open(paths.domain_log(self.name), flags, 0o600)
        return self._log_fd

    def log(self, text: str) -> None:
        """Add a line to the domain's own log, as long as there is a domain."""
        if self.released:
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        # The log is an aid; a domain must not fail because its log does.
        with contextlib.suppress(OSError):
            os.write(self.open_log(), f"{stamp} {text}\n".encode(errors="replace"))

    def close(self) -> None:
        """Release what the daemon holds of the domain."""
        if self.connection is not None:
            self.connection.close()
        for fd in (self.pidfd, self.status_fd, self._log_fd):
            if fd is not None:
                os.close(fd)
        self.pidfd = self.status_fd = self._log_fd = None

    def add_waiter(self, request: Request) -> None:
        """Answer a request with the domain's end."""
        self.waiters = [waiter for waiter in self.waiters if not waiter.abandoned]
        self.waiters.append(request)

    def report_end(self, end: DomainEnd) -> None:
        """Answer everybody who waits for the domain's end."""
        for request in self.waiters:
            request.reply(end)
        self.waiters.clear()

    def when_built(self, call: Callable[[], None]) -> None:
        """Call back when the domain's creation is over, well or not."""
        self._when_built.append(call)

    def report_built(self) -> None:
        """The domain's creation is over: make the calls of :meth:`when_built`."""
        self.building = False
        calls, self._when_built = self._when_built, []
        for call in calls:
            call()

    def when_gone(self, call: Callable[[], None]) -> None:
        """Call back when nothing of the domain is left."""
        if self.released:
            call()
        else:
            self._when_gone.append(call)

    def report_gone(self) -> None:
        """Nothing of the domain is left: make the calls of :meth:`when_gone`."""
        self.released = True
        self.report_built()
        calls, self._when_gone = self._when_gone, []
        for call in calls:
            call()

    def cancel_timer(self) -> None:
        """Forget what was to happen later."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def info(self) -> DomainInfo:
        """The domain's line of `xl list`."""
        status = self.status
        reason = self.shutdown_reason
        running = any(vcpu.state is Runstate.running for vcpu in status.vcpus)
        runnable = any(vcpu.state is Runstate.runnable for vcpu in status.vcpus)
        return DomainInfo(
            domid=self.domid,
            name=self.name,
            uuid=self.config.uuid,
            memory_kib=status.memory_kib,
            max_memory_kib=status.max_memory_kib,
            vcpus=sum(vcpu.state is not Runstate.offline for vcpu in status.vcpus),
            max_vcpus=self.config.maxvcpus,
            running=running and reason is None,
            blocked=not (running or runnable or self.building) and reason is None,
            # As on Xen; its process may not have come to say so.
            paused=status.paused or self.building,
            shutdown=reason is not None,
            crashed=reason == ShutdownReason.crash,
            dying=self.dying,
            shutdown_reason=reason,
            cpu_time_ns=self._cpu_time(status),
            cpupool=self.config.pool,
            start_time=self.created,
        )

    def vcpu_infos(self) -> list[VcpuInfo]:
        """The domain's lines of `xl vcpu-list`."""
        pid = None if self.process_ended else self.pid
        cpu = None if pid is None else domain_files.last_cpu(pid)
        return [
            VcpuInfo(
                domid=self.domid,
                vcpu=number,
                cpu=cpu,
                online=vcpu.state is not Runstate.offline,
                running=vcpu.state is Runstate.running,
                blocked=vcpu.state is Runstate.blocked,
                cpu_time_ns=vcpu.run_time_ns,
                hard_affinity="all",
                soft_affinity="all",
            )
            for number, vcpu in enumerate(self.status.vcpus)
        ]

    def _cpu_time(self, status: status_page.Status) -> int:
        """What the domain's process has used of the host's CPUs, hypervisor included, in ns."""
        if self.pid is not None and not self.process_ended:
            # The clock of a process's CPU time, as clock_getcpuclockid(3) makes it.
            clock = ~self.pid << 3 | _CPUCLOCK_SCHED
            with contextlib.suppress(OSError):
                return time.clock_gettime_ns(clock)
        return sum(vcpu.run_time_ns for vcpu in status.vcpus)
