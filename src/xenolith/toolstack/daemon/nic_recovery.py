"""Interfaces whose network has gone, because its passt or its switch has died, are plugged in again.

A backend tells of it by the nodes with which hotplug scripts fail: ``hotplug-status`` is ``error``, and
``hotplug-error`` says why. It tells, too, when there is a network again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.machine.event_loop import Timer
from xenolith.net.errors import NetError
from xenolith.toolstack.config.nic import NicConfig
from xenolith.toolstack.daemon import devices
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.devices import nodes, vif
from xenolith.toolstack.networks import Plugged
from xenolith.xenstore.store import Store
from xenolith.xenstore.watch import Watch

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 60.0


def lost(store: Store, backend: str) -> str:
    """Why an interface has no network, by its backend's directory; empty where it has one."""
    status, error = f"{backend}/hotplug-status", f"{backend}/hotplug-error"
    if not store.exists(status) or store.read(status) != b"error":
        return ""
    return store.read(error).decode("utf-8", "replace") if store.exists(error) else "unknown"


def watch(daemon: Daemon, domain: Domain, nic: NicConfig) -> None:
    """Look after an interface that is attached, as long as it is."""
    _Recovery(daemon, domain, nic)


def watch_all(daemon: Daemon, domain: Domain) -> None:
    """Look after the interfaces of a domain that another daemon made."""
    for nic in domain.config.vif:
        watch(daemon, domain, nic)


class _Recovery:
    """One interface; the more often its network goes, the longer the next attempt waits."""

    def __init__(self, daemon: Daemon, domain: Domain, nic: NicConfig) -> None:
        self._daemon = daemon
        self._domain = domain
        self._nic = nic
        self._devid = nic.devid or 0
        self._backend = nodes.backend_path(domain.domid, vif.kind_of(nic), self._devid)
        self._delay = _FIRST_DELAY_S
        self._timer: Timer | None = None
        self._watch: Watch | None = daemon.store.watch(
            f"{self._backend}/hotplug-status", self._look, 0
        )

    def _look(self, _path: str) -> None:
        if not self._daemon.store.exists(self._backend):
            self._end()
        elif self._is_lost() and self._timer is None:
            self._wait()

    def _wait(self) -> None:
        self._timer = self._daemon.loop.call_later(self._delay, self._plug)
        self._delay = min(2 * self._delay, _LONGEST_DELAY_S)

    def _is_lost(self) -> bool:
        return bool(lost(self._daemon.store, self._backend))

    def _end(self) -> None:
        if self._watch is not None:
            self._daemon.store.unwatch(self._watch)
            self._watch = None
        if self._timer is not None:
            self._timer.cancel()

    def _plug(self) -> None:
        if not self._is_lost():
            # The last attempt was good.
            self._timer, self._delay = None, _FIRST_DELAY_S
            return
        if self._domain.process_ended:
            return
        try:
            name = f"vif{self._domain.domid}.{self._devid}"
            self._daemon.networks.plug(self._nic, name, self._plugged)
        except NetError as error:
            self._plugged(error)

    def _plugged(self, result: Plugged | NetError) -> None:
        if isinstance(result, NetError):
            self._done(DaemonError(str(result)))
            return
        device = vif.plugged_again(self._nic, self._devid, result)
        if self._watch is None:
            device.close()
            return
        try:
            devices.change(self._daemon, self._domain, device, self._done)
        except DaemonError as error:
            self._done(error)

    def _done(self, error: DaemonError | None) -> None:
        if self._watch is None:
            return
        if error is None:
            self._domain.log(f"Network interface {self._devid} is plugged in again")
        else:
            self._domain.log(f"Network interface {self._devid} cannot be plugged in: {error}")
        self._wait()
