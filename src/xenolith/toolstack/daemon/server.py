"""The root object of `xenolithd`: the domain table, the xenstore, the zygote and who talks to them.

Everything runs in one thread, which sleeps in the event loop. The daemon can be killed at any
time; what it must not lose is in the run directory.
"""

from __future__ import annotations

import fcntl
import logging
import os
import resource
import socket

from xenolith.builder.kernel_cache import KernelCache
from xenolith.machine.event_loop import READ, EventLoop
from xenolith.machine.run_dir import runtime_directory, xenstored_socket
from xenolith.toolstack import paths, rpc_loop
from xenolith.toolstack.daemon import (
    credit,
    domain_files,
    lifecycle,
    recovery,
    verbs,
    xenstore_layout,
)
from xenolith.toolstack.daemon import ending as endings
from xenolith.toolstack.daemon.consoles import EndedConsoles
from xenolith.toolstack.daemon.cpupools import CpuPools
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.domain_table import DOM0_NAME, DomainTable
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.daemon.hypervisor_log import HypervisorLog
from xenolith.toolstack.daemon.zygote_link import ZygoteLink
from xenolith.toolstack.networks import Networks
from xenolith.toolstack.rpc_loop import Listener, LoopConnection, Request
from xenolith.xenstore.server import Server
from xenolith.xenstore.store import Store

_log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 1.0


class Daemon:
    """One per user; see :meth:`run`."""

    def __init__(self) -> None:
        """Take the run directory over; DaemonError, OSError, JournalError if that cannot be."""
        self._lock = _lock()
        _raise_file_limit()
        self._stopping = False
        self.loop = EventLoop()
        # First, because it takes its time while the rest goes on.
        self.zygote = ZygoteLink(self.loop, self._process_ended)
        for directory in (
            paths.domains_dir(),
            paths.log_dir(),
            paths.console_log_dir(),
            paths.dump_dir(),
        ):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        self.hypervisor_log = HypervisorLog(f"{runtime_directory()}/dmesg")
        self.kernels = KernelCache()
        self.table = DomainTable()
        self.cpupools = CpuPools(f"{runtime_directory()}/cpupools.json")
        self.networks = Networks(self.loop)
        self.ended_consoles = EndedConsoles()
        self.store = Store.open(f"{runtime_directory()}/xenstored.journal", self.loop.post)
        self.xenstored = Server(self.loop, self.store)
        xenstore_socket = xenstored_socket()
        os.makedirs(os.path.dirname(xenstore_socket), mode=0o755, exist_ok=True)
        self.xenstored.listen(xenstore_socket)
        xenstore_layout.publish_host(self.store, DOM0_NAME)
        xenstore_layout.publish_cpupools(self.store, self.cpupools)
        recovery.recover(self)
        credit.settle(self)
        self._listener = Listener(self.loop, rpc_loop.listen(paths.daemon_socket()), self._accept)
        self.hypervisor_log.add("(XEN) Xenolith's daemon serves")

    def run(self) -> None:
        """Serve until :meth:`stop`. A bug that one request meets does not end the others."""
        while not self._stopping:
            try:
                self.loop.run()
            except Exception:
                _log.exception("a bug of the daemon")
                # What was posted behind the call that failed still waits.
                self.loop.post(lambda: None)

    def stop(self) -> None:
        """Make :meth:`run` return soon; may be called from a signal handler."""
        self._stopping = True
        self.loop.post(self.loop.stop)

    def close(self) -> None:
        """Leave the run directory to the next daemon, and the domains to themselves."""
        self._listener.close()
        self.xenstored.close()
        self.store.close()
        self.networks.close()
        self.zygote.close()

    def connect(self, domain: Domain) -> LoopConnection:
        """Connect to a domain's process; OSError if nobody listens there."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(_CONNECT_TIMEOUT_S)
            sock.connect(domain_files.control_socket(domain.domid))
        except OSError:
            sock.close()
            raise
        domain.connection = LoopConnection(
            self.loop,
            sock,
            lambda request: self._domain_says(domain, request),
            lambda: self._connection_lost(domain),
            max_fds=0,
        )
        return domain.connection

    def attach_xenstore(self, domain: Domain) -> list[int]:
        """Connect a domain and its backends to the store anew; return their ends of that."""
        guests_end, guests = socket.socketpair()
        backends_end, backends = socket.socketpair()
        self.xenstored.attach_domain(domain.domid, guests_end)
        self.xenstored.attach_backends(domain.domid, backends_end)
        return [guests.detach(), backends.detach()]

    def watch_process(self, domain: Domain) -> None:
        """Notice the end of a domain's process at once."""
        assert domain.pidfd is not None
        self.loop.watch(domain.pidfd, READ, lambda _events: self._process_gone(domain))

    def _accept(self, sock: socket.socket) -> None:
        LoopConnection(self.loop, sock, lambda request: verbs.serve(self, request), lambda: None)

    def _domain_says(self, domain: Domain, request: Request) -> None:
        if request.method == "shutdown":
            lifecycle.handle_shutdown(self, domain)
        elif request.method == "log":
            self.hypervisor_log.add(f"(d{domain.domid}) {request.params.get('line')}")

    def _connection_lost(self, domain: Domain) -> None:
        """A domain's process that breaks the protocol is not trusted with its guest any more."""
        if not domain.released and not domain.process_ended:
            domain.kill()

    def _process_gone(self, domain: Domain) -> None:
        assert domain.pidfd is not None
        self.loop.forget(domain.pidfd)
        domain.process_ended = True
        if domain.connection is not None:
            domain.connection.close()
        # Its process ID may soon be another's.
        credit.settle(self)
        if domain.dying:
            endings.release(self, domain)
        elif not domain.building:
            domain.crashed = True
            self.hypervisor_log.add(f"(XEN) d{domain.domid} has lost its process")
            lifecycle.handle_shutdown(self, domain)

    def _process_ended(self, pid: int, code: int) -> None:
        """The zygote tells how a process ended; the domain may be gone already."""
        if code != 0:
            self.hypervisor_log.add(f"(XEN) process {pid} of a domain has ended with code {code}")


def _raise_file_limit() -> None:
    """A domain takes five descriptors here, and the usual limit of 1024 is for select(2)."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _lock() -> int:
    """Become the only daemon of this run directory; DaemonError if there is one."""
    lock = os.open(paths.daemon_lock(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise DaemonError(f"another daemon runs in {runtime_directory()}") from None
    return lock
