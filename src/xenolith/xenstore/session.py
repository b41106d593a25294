"""Who uses the store: domains, and for each client its watches and open transactions.

A domain's session lasts from its introduction to its release, whether or not a connection serves
it at the moment; so no event is lost while one side restarts.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi.xs_wire import LaterServerFeature, ServerFeature
from xenolith.xenstore import path as paths
from xenolith.xenstore import permissions as perms
from xenolith.xenstore.permissions import Permissions
from xenolith.xenstore.quota import Limits
from xenolith.xenstore.transaction import Transaction
from xenolith.xenstore.watch import Watch

FEATURES = (
    ServerFeature.RECONNECTION
    | ServerFeature.ERROR
    | LaterServerFeature.WATCHDEPTH
    | LaterServerFeature.DOMID_ANY
)
"""The bits of ``server_features`` that a domain is offered unless SET_FEATURE says otherwise."""

_BACKLOG_MAX = 4096

_BACKENDS = 0x8000
"""Above all domids that there are: DOMID_FIRST_RESERVED of public/xen.h is below."""


class Domain:
    """What the store knows of a domain; only domain 0 is privileged."""

    def __init__(self, domid: int, limits: Limits) -> None:
        self.domid = domid
        self.privileged = domid == 0
        self.durable = not self.privileged
        """Whether its session outlasts a restart: a domain's, as domains cannot reconnect."""
        self.home = paths.home(domid)
        self.introduced = False
        self.shut_down = False
        self.target: int | None = None
        self.features: int = FEATURES
        self.limits = limits
        self.session = Session(self)

    def may(self, access: int, permissions: Permissions) -> bool:
        """Whether ``permissions`` grant the domain all of ``access``."""
        if self.privileged:
            return True
        return perms.granted(permissions, self.domid, self.target) & access == access


def backends_domid(domid: int) -> int:
    """The domid by which permissions name the backends in a domain's process, and nobody else."""
    return _BACKENDS | domid


def backends_of(domid: int, limits: Limits) -> Domain:
    """The client that a domain's backends are: it has the domain's rights and those of its own domid.

    Its session ends with its connection.
    """
    backends = Domain(backends_domid(domid), limits)
    backends.target = domid
    backends.durable = False
    return backends


class Session:
    """One client: a domain, or one of the programs in domain 0."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.privileged = domain.privileged
        self.watches: dict[tuple[str, bytes], Watch] = {}
        """By absolute path and token."""
        self.transactions: dict[int, Transaction] = {}
        self._backlog: dict[tuple[str, bytes], None] = {}
        self._deliver: Callable[[str, bytes], None] = self._keep
        self._close: Callable[[], None] = _nothing

    @property
    def durable(self) -> bool:
        """Whether the session outlasts a restart."""
        return self.domain.durable

    def may_read(self, permissions: Permissions) -> bool:
        """Whether the client may read a node with these permissions."""
        return self.domain.may(perms.READ, permissions)

    def hear(self, path: str, token: bytes) -> None:
        """Take an event for the client."""
        self._deliver(path, token)

    def attach(self, deliver: Callable[[str, bytes], None], close: Callable[[], None]) -> None:
        """Hand events to ``deliver`` from now on, first those that came in between.

        Every watch triggers once, since events may have been lost with an earlier connection.
        ``close`` is called when the session ends.
        """
        self._deliver = deliver
        self._close = close
        backlog, self._backlog = self._backlog, {}
        for path, token in backlog:
            deliver(path, token)
        for watch in self.watches.values():
            watch.trigger()

    def detach(self) -> None:
        """Keep events until the next :meth:`attach`."""
        for watch in self.watches.values():
            watch.unconfirmed = True
        self._deliver = self._keep
        self._close = _nothing

    def end(self) -> None:
        """Have the client's connection closed: its domain is gone."""
        close = self._close
        self.detach()
        close()

    def _keep(self, path: str, token: bytes) -> None:
        # What exceeds the backlog is made good by the trigger of every watch.
        if len(self._backlog) < _BACKLOG_MAX:
            self._backlog[path, token] = None


def _nothing() -> None:
    """Close no connection, as there is none."""
