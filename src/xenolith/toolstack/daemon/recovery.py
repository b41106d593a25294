"""How a new daemon finds the domains of a dead one: by their records and control sockets."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from xenolith.toolstack import paths
from xenolith.toolstack.config import DomainConfig
from xenolith.toolstack.daemon import (
    devices,
    domain_files,
    ending,
    lifecycle,
    nic_recovery,
    xenstore_layout,
)
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.domain_files import DomainRecord
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.rpc_loop import LoopConnection
from xenolith.xenstore.errors import XenstoreError

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon

_log = logging.getLogger(__name__)


def recover(daemon: Daemon) -> None:
    """Take over every domain of an earlier daemon, the ended ones too; DaemonError, OSError."""
    introduced = set(daemon.store.introduced_domains())
    for record in domain_files.load_all():
        try:
            config = DomainConfig.from_dict(record.config)
        except ValueError as error:
            _log.error("the record of domain %d is damaged: %s", record.domid, error)
            domain_files.remove(record.domid)
            continue
        domain = Domain(record.domid, config, record.created)
        domain.preserved = record.preserved
        domain.building = record.building
        daemon.table.add(domain)
        lost = record.domid not in introduced and not record.building
        if lost:
            _reintroduce(daemon, domain)
        _take_over(daemon, domain, record)
        if lost and domain.connection is not None:
            _republish(daemon, domain, domain.connection)
    known = {domain.domid for domain in daemon.table}
    for domid in introduced - known:
        ending.forget_in_xenstore(daemon.store, domid)


def _reintroduce(daemon: Daemon, domain: Domain) -> None:
    """Make the nodes of a domain that the store knows nothing of: its journal was removed."""
    domain.log("The journal of xenstore is lost, and with it what the guest wrote")
    log = paths.console_log(domain.name)
    try:
        xenstore_layout.create(daemon.store, domain.domid, domain.config, log)
        daemon.store.introduce_domain(domain.domid)
    except XenstoreError as error:
        raise DaemonError(f"domain {domain.name} cannot be told to xenstore: {error}") from None


def _republish(daemon: Daemon, domain: Domain, connection: LoopConnection) -> None:
    """Have a domain's process say where its rings are and what its guest watches."""

    def answered(result: Any, _fds: list[int]) -> None:
        if not isinstance(result, Exception) and not domain.released:
            xenstore_layout.publish_channels(daemon.store, domain.domid, result)

    connection.call("ready", {}, answered)
    connection.call("restore_watches", {}, lambda _result, _fds: None)


def _take_over(daemon: Daemon, domain: Domain, record: DomainRecord) -> None:
    try:
        domain.status_fd = os.open(
            domain_files.status_file(domain.domid), os.O_RDONLY | os.O_CLOEXEC
        )
        connection = daemon.connect(domain)
    except OSError:
        # Nobody listens: the process has ended, or it never started.
        _bury(daemon, domain)
        return
    pidfd = _find_process(record)
    if pidfd is not None and record.pid is not None:
        domain.take_process(record.pid, pidfd)
        daemon.watch_process(domain)
    if pidfd is None or domain.building:
        # Nobody was told of a domain whose creation the old daemon did not finish.
        connection.call("stop", {}, lambda _result, _fds: ending.release(daemon, domain))
        return
    connections = daemon.attach_xenstore(domain)
    connection.call("xenstore", {}, lambda _result, _fds: None, connections)
    devices.resume_removals(daemon, domain)
    nic_recovery.watch_all(daemon, domain)
    domain.log(f"A new daemon has taken over domain {domain.domid}")


def _bury(daemon: Daemon, domain: Domain) -> None:
    """Deal with the end that a domain has come to while there was no daemon."""
    domain.process_ended = True
    if domain.building:
        ending.release(daemon, domain)
        return
    domain.crashed = True
    daemon.loop.post(lambda: lifecycle.handle_shutdown(daemon, domain))


def _find_process(record: DomainRecord) -> int | None:
    """A pidfd of the recorded process; None if it has ended."""
    if record.pid is None:
        return None
    try:
        pidfd = os.pidfd_open(record.pid)
    except OSError:
        return None
    if domain_files.process_started(record.pid) == record.process_started:
        return pidfd
    os.close(pidfd)
    return None
