"""How a domain ceases to be: its process stops, and all that the daemon held for it goes."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from xenolith.toolstack.daemon import credit, domain_files, xenstore_layout
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.records import DomainEnd
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.store import Store

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon

_log = logging.getLogger(__name__)

KILL_AFTER_S = 10.0
"""How long a domain's process may take to stop before it is killed."""


def destroy(daemon: Daemon, domain: Domain) -> None:
    """End a domain; it is gone when :func:`release` has run. Harmless when it is dying already."""
    if domain.dying:
        return
    domain.dying = True
    domain.cancel_timer()

    def stopped(result: Any, _fds: list[int]) -> None:
        if isinstance(result, Exception):
            # Its process does not obey; its end will be heard of.
            domain.kill()
        else:
            release(daemon, domain)

    if domain.process_ended or domain.pidfd is None:
        release(daemon, domain)
    elif domain.connection is None:
        domain.kill()
    else:
        domain.timer = daemon.loop.call_later(KILL_AFTER_S, domain.kill)
        domain.connection.call("stop", {}, stopped)


def release(daemon: Daemon, domain: Domain) -> None:
    """Forget a domain whose process has stopped, and start its successor if there is to be one."""
    if domain.released:
        return
    domain.cancel_timer()
    reason = domain.shutdown_reason
    # In this order: a daemon that is killed here leaves a domain that only xenstore knows, which
    # the next daemon makes it forget.
    domain_files.remove(domain.domid)
    daemon.xenstored.detach_backends(domain.domid)
    forget_in_xenstore(daemon.store, domain.domid)
    domain.log(f"Domain {domain.domid} is gone")
    if reason is not None:
        daemon.ended_consoles.keep(domain)
    if domain.pidfd is not None:
        daemon.loop.forget(domain.pidfd)
    domain.close()
    daemon.table.remove(domain)
    credit.settle(daemon)
    successor = domain.restart() if domain.restart is not None else None
    end = DomainEnd(domain.domid, reason, successor, preserved=False)
    daemon.table.remember(end)
    domain.report_end(end)
    domain.report_gone()


def forget_in_xenstore(store: Store, domid: int) -> None:
    """Remove a domain's nodes, and end its use of the store."""
    try:
        xenstore_layout.remove(store, domid)
    except XenstoreError as error:
        # The journal's disk is full, for one. The next domain of this domid replaces them.
        _log.error("the nodes of domain %d stay: %s", domid, error)
    with contextlib.suppress(XenstoreError):
        # It is not introduced, if its creation failed early.
        store.release_domain(domid)
