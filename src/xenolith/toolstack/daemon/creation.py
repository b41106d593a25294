"""How a domain comes into being: files, xenstore nodes, a process, and then its first instruction.

The daemon hands everything over as open descriptors and looks into none of it: the domain's
process, jailed, unpacks and loads the kernel.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xenolith.builder.errors import BuildError
from xenolith.toolstack import paths, rpc, rpc_loop, status_page
from xenolith.toolstack.config import DomainConfig
from xenolith.toolstack.config.runnable import refusal
from xenolith.toolstack.daemon import (
    affinity,
    bootloader,
    cloud_init_seed,
    credit,
    devices,
    disks,
    domain_files,
    ending,
    lifecycle,
    nics,
    xenstore_layout,
)
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.daemon.kernel_file import KernelFile, open_regular
from xenolith.toolstack.devices.new_device import NewDevice
from xenolith.toolstack.failures import reason
from xenolith.xenstore.errors import XenstoreError

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon

Created = Callable[[int | DaemonError], None]
"""Takes the domid of a domain that runs (or stands paused), or why there is none."""


def create(
    daemon: Daemon,
    config: DomainConfig,
    created: Created,
    *,
    paused: bool,
    screen: bootloader.Screen | None = None,
) -> int:
    """Start to make a domain and return its domid; DaemonError when that fails at once.

    ``screen`` is where the menu of a boot loader is shown, if anywhere.
    """
    daemon.table.check_name(config.name)
    daemon.table.check_uuid(config.uuid)
    why = refusal(config)
    if why is not None:
        raise DaemonError(f"Domain {config.name} cannot be created: {why}")
    affinity.check(config)
    config = with_cpupool(daemon, config)
    try:
        config = cloud_init_seed.with_seed(config)
    except (OSError, BuildError) as error:
        raise DaemonError(f"Domain {config.name} cannot be created: {reason(error)}") from None
    try:
        config = nics.settled(config)
        domain = Domain(daemon.table.new_domid(), config, time.time())
    except OSError as error:
        raise DaemonError(f"The run directory cannot be written: {error.strerror}") from None
    daemon.table.add(domain)
    creation = _Creation(daemon, domain, created, paused=paused)
    try:
        creation.start(screen)
    except (OSError, BuildError, DaemonError) as error:
        creation.undo()
        raise DaemonError(f"Domain {config.name} cannot be created: {reason(error)}") from None
    return domain.domid


def with_cpupool(daemon: Daemon, config: DomainConfig) -> DomainConfig:
    """The configuration with the name of its CPU pool, which it may give by number; DaemonError."""
    try:
        pool = daemon.cpupools.find(config.pool)
    except DaemonError as error:
        raise DaemonError(f"Domain {config.name} cannot be created: key 'pool': {error}") from None
    if not pool.cpus:
        raise DaemonError(f"CPU pool {pool.name} has no CPU for domain {config.name}")
    return dataclasses.replace(config, pool=pool.name)


def abandon(daemon: Daemon, domain: Domain) -> None:
    """End a domain that nobody waits for any more, if it is still in the making."""
    if domain.building and not domain.released:
        domain.log(f"Whoever created domain {domain.domid} has gone")
        ending.destroy(daemon, domain)
        # It has nothing to lose, and would be deaf until its kernel is unpacked.
        domain.kill()


class _Creation:
    """One domain in the making, step by step as its process answers."""

    def __init__(self, daemon: Daemon, domain: Domain, created: Created, *, paused: bool) -> None:
        self._daemon = daemon
        self._domain = domain
        self._created = created
        self._paused = paused
        self._kernel = KernelFile(daemon.kernels)
        self._fds: dict[str, int] = {}
        self._devices: list[NewDevice] = []
        """Those that are not attached yet."""
        self._nics_wait = True
        self._error = DaemonError(f"Domain {domain.name} was destroyed while it was created")

    def start(self, screen: bootloader.Screen | None) -> None:
        """Open what the domain needs and ask for its process; OSError, BuildError, DaemonError."""
        domain, config = self._domain, self._domain.config
        domain.save()
        self._open_files()
        if config.bootloader is not None:
            bootloader.run(self._daemon, domain, screen, self._booted)
            domain.when_built(self._report)
            return
        if config.kernel is not None:
            self._kernel.hand_over(open_regular(config.kernel), config.kernel, self._fds)
        if config.ramdisk is not None:
            self._fds["ramdisk"] = open_regular(config.ramdisk)
        self._devices = disks.open_all(config)
        domain.when_built(self._report)
        self._spawn(config)

    def _booted(self, result: bootloader.Booted | DaemonError) -> None:
        """The boot loader has found a kernel in the first disk, or it has not."""
        if isinstance(result, DaemonError):
            self._fail(str(result))
            return
        if self._domain.released:
            result.close()
            self._discard_fds()
            return
        if result.ramdisk is not None:
            self._fds["ramdisk"] = result.ramdisk
        try:
            self._kernel.hand_over(result.kernel, str(result.config.kernel), self._fds)
            self._devices = disks.open_all(self._domain.config)
        except (OSError, BuildError, DaemonError) as error:
            self._fail(reason(error))
        else:
            self._spawn(result.config)

    def _spawn(self, config: DomainConfig) -> None:
        """Ask for the domain's process, and make the domain's nodes."""
        domain, daemon = self._domain, self._daemon
        guests_end, guests = socket.socketpair()
        backends_end, backends = socket.socketpair()
        self._fds |= {"xenstore": guests.detach(), "backends": backends.detach()}
        fds, self._fds = self._fds, {}
        daemon.zygote.spawn(domain.domid, config.to_dict(), fds, self._spawned)
        # The process is built meanwhile, on another CPU.
        try:
            log = paths.console_log(domain.name)
            xenstore_layout.create(daemon.store, domain.domid, domain.config, log)
            daemon.store.introduce_domain(domain.domid)
            daemon.xenstored.attach_domain(domain.domid, guests_end)
            daemon.xenstored.attach_backends(domain.domid, backends_end)
        except XenstoreError as error:
            guests_end.close()
            backends_end.close()
            self._fail(f"xenstore: {error}")

    def undo(self) -> None:
        """Leave nothing behind; the domain has no process yet."""
        self._discard_fds()
        self._kernel.discard()
        self._discard_devices()
        ending.release(self._daemon, self._domain)

    def _open_files(self) -> None:
        domain, fds = self._domain, self._fds
        fds["control"] = rpc_loop.listen(domain_files.control_socket(domain.domid)).detach()
        domain.status_fd = status_page.create(domain_files.status_file(domain.domid))
        fds["status"] = os.dup(domain.status_fd)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        console_log = paths.console_log(domain.name)
        fds["console"] = os.open(console_log, flags, 0o600)
        domain.console = (console_log, os.fstat(fds["console"]).st_size)
        fds["log"] = os.dup(domain.open_log())

    def _spawned(self, result: tuple[int, int] | DaemonError) -> None:
        domain = self._domain
        if isinstance(result, DaemonError):
            self._fail(str(result))
            return
        domain.take_process(*result)
        if domain.released:
            domain.kill()
            domain.close()
            self._discard_devices()
            return
        self._daemon.watch_process(domain)
        try:
            affinity.apply(domain, self._daemon.cpupools.of(domain.config.pool))
            connection = self._daemon.connect(domain)
        except OSError as error:
            self._fail(f"its process cannot be reached: {reason(error)}")
            return
        connection.call("ready", {}, self._built)

    def _built(self, result: Any, _fds: list[int]) -> None:
        if isinstance(result, Exception):
            gone = isinstance(result, rpc.ProtocolError)
            log = paths.domain_log(self._domain.name)
            self._fail(f"its process has ended, see {log}" if gone else str(result))
            return
        self._kernel.keep()
        domain = self._domain
        xenstore_layout.publish_channels(self._daemon.store, domain.domid, result)
        credit.settle(self._daemon)
        self._attach_devices(None)

    def _attach_devices(self, error: DaemonError | None) -> None:
        """Attach one device after the other, then let the guest run."""
        domain = self._domain
        if error is not None:
            self._fail(str(error))
        elif self._devices:
            device = self._devices.pop(0)
            devices.attach(self._daemon, domain, device, self._attach_devices)
        elif self._nics_wait:
            self._nics_wait = False
            nics.attach_all(self._daemon, domain, self._attach_devices)
        elif self._paused or domain.connection is None:
            self._started(None, [])
        else:
            domain.connection.call("unpause", {}, self._started)

    def _started(self, result: Any, _fds: list[int]) -> None:
        if isinstance(result, Exception):
            self._fail(str(result))
            return
        domain = self._domain
        domain.building = False
        try:
            domain.save()
        except OSError as error:
            self._fail(str(error))
            return
        domain.log(f"Domain {domain.name} runs as domain {domain.domid}")
        domain.report_built()
        lifecycle.handle_shutdown(self._daemon, domain)

    def _report(self) -> None:
        """The domain is built, or it is gone."""
        self._created(self._error if self._domain.released else self._domain.domid)

    def _fail(self, why: str) -> None:
        """End what there is of the domain; that it is gone will be reported."""
        domain = self._domain
        self._discard_fds()
        self._kernel.discard()
        self._discard_devices()
        if domain.released:
            return
        domain.log(f"Domain {domain.domid} could not be created: {why}")
        self._error = DaemonError(f"Domain {domain.name} cannot be created: {why}")
        ending.destroy(self._daemon, domain)

    def _discard_devices(self) -> None:
        for device in self._devices:
            device.close()
        self._devices.clear()

    def _discard_fds(self) -> None:
        rpc.close_all(list(self._fds.values()))
        self._fds.clear()
