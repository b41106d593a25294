"""What becomes of a domain that has shut down: on_poweroff, on_reboot, on_crash and the others.

The rules are those of xl (handle_domain_death in tools/xl/xl_vmcontrol.c).
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xenolith.abi.sched import ShutdownReason
from xenolith.toolstack import paths
from xenolith.toolstack.config import Action, DomainConfig
from xenolith.toolstack.config.domain_config import new_uuid
from xenolith.toolstack.daemon import creation, devices, ending, xenstore_layout
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.records import DomainEnd

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon

_log = logging.getLogger(__name__)

MIN_LIFE_S = 2.0
"""Starts of one domain are at least this far apart (xl sleeps as long before each restart)."""

_DUMPS = {
    Action.COREDUMP_DESTROY: Action.DESTROY,
    Action.COREDUMP_RESTART: Action.RESTART,
}


def action_for(config: DomainConfig, reason: int) -> Action:
    """What the configuration wants for a shutdown reason."""
    match reason:
        case ShutdownReason.poweroff:
            return config.on_poweroff
        case ShutdownReason.reboot:
            return config.on_reboot
        case ShutdownReason.suspend:
            return Action.PRESERVE
        case ShutdownReason.watchdog:
            return config.on_watchdog
        case ShutdownReason.soft_reset:
            return config.on_soft_reset
        case _:
            return config.on_crash


def handle_shutdown(daemon: Daemon, domain: Domain) -> None:
    """Do what is to be done about a domain if it has shut down; once."""
    reason = domain.shutdown_reason
    if reason is None or domain.building or domain.dying or domain.ending or domain.preserved:
        return
    domain.ending = True
    daemon.store.announce_shutdown(domain.domid)
    action = action_for(domain.config, reason)
    domain.log(f"Domain {domain.domid} has shut down, reason code {reason}; action is {action}")
    if action in _DUMPS:
        _dump_core(daemon, domain, _DUMPS[action])
    else:
        _act(daemon, domain, action)


def _act(daemon: Daemon, domain: Domain, action: Action) -> None:
    if domain.dying:
        return
    match action:
        case Action.DESTROY:
            ending.destroy(daemon, domain)
        case Action.PRESERVE:
            _preserve(domain, None)
        case Action.RENAME_RESTART:
            _when_old_enough(daemon, domain, lambda: _rename_restart(daemon, domain))
        case _:
            # A soft reset as well: to keep its memory, a domain would have to be rebuilt around it.
            _when_old_enough(daemon, domain, lambda: _restart(daemon, domain))


def _when_old_enough(daemon: Daemon, domain: Domain, call: Callable[[], None]) -> None:
    """Call when the domain has lived MIN_LIFE_S; until then it stays visible, shut down."""
    age = time.time() - domain.created
    domain.timer = daemon.loop.call_later(min(MIN_LIFE_S, max(0.0, MIN_LIFE_S - age)), call)


def _restart(daemon: Daemon, domain: Domain) -> None:
    domain.restart = lambda: _start_successor(daemon, domain.config)
    ending.destroy(daemon, domain)


def _rename_restart(daemon: Daemon, domain: Domain) -> None:
    """Keep the domain under another name and UUID, and start it anew under its own."""
    old = domain.config
    name = f"{old.name}-{time.strftime('%Y%m%dT%H%MZ', time.gmtime())}"
    if daemon.table.by_name(name) is not None:
        name = f"{name}-{domain.domid}"
    domain.config = dataclasses.replace(old, name=name, uuid=new_uuid())
    xenstore_layout.preserve(daemon.store, domain.domid, old, domain.config)
    # Its heir is to have its disks.
    devices.detach_all(daemon, domain, lambda: _preserve(domain, _start_successor(daemon, old)))


def _preserve(domain: Domain, successor: int | None) -> None:
    domain.preserved = True
    domain.save()
    report_preserved(domain, successor)


def report_preserved(domain: Domain, successor: int | None) -> None:
    """Tell those who wait for a domain's end that it has ended and stays."""
    reason = domain.shutdown_reason
    domain.report_end(DomainEnd(domain.domid, reason, successor, preserved=True))


def _start_successor(daemon: Daemon, config: DomainConfig) -> int | None:
    """Start a domain again; return its new domid."""

    def created(result: int | DaemonError) -> None:
        if isinstance(result, DaemonError):
            _log.error("%s", result)

    try:
        return creation.create(daemon, config, created, paused=False)
    except DaemonError as error:
        _log.error("%s", error)
        return None


def _dump_core(daemon: Daemon, domain: Domain, action: Action) -> None:
    """Write the guest's memory to a file, then go on with ``action``, whether that worked or not."""

    def dumped(result: Any, _fds: list[int]) -> None:
        if isinstance(result, Exception):
            domain.log(f"No core dump: {result}")
            os.unlink(path)
        else:
            domain.log(f"Core dumped to {path}")
        _act(daemon, domain, action)

    stamp = time.strftime("%Y%m%dT%H%M%S")
    path = f"{paths.dump_dir()}/{domain.name}-{domain.domid}-{stamp}.core"
    if domain.process_ended or domain.connection is None:
        domain.log("No core dump: the domain's memory is gone with its process")
        _act(daemon, domain, action)
        return
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        domain.log(f"No core dump: {error}")
        _act(daemon, domain, action)
        return
    domain.connection.call("dump_core", {}, dumped, [fd])
