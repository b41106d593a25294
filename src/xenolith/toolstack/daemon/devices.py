"""How devices of any kind come to a domain and leave it, while it is made and while it runs.

As in libxl (libxl_device.c): the nodes come first, then the backend; a frontend is asked to let go of a
device before it goes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xenolith.abi.xenbus import XenbusState
from xenolith.machine.event_loop import Timer
from xenolith.toolstack import rpc
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.devices import nodes
from xenolith.toolstack.devices.new_device import NewDevice
from xenolith.toolstack.records import DeviceInfo
from xenolith.toolstack.rpc_loop import LoopConnection, Request
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.watch import Watch

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon

DETACH_TIMEOUT_S = 10.0
"""How long a guest may take to let go of a device (LIBXL_DESTROY_TIMEOUT of libxl)."""

FORCE_TIMEOUT_S = 2.0
"""How long it may take where the device goes in any case: a driver that is not told would hang."""

Then = Callable[[DaemonError | None], None]
"""Takes why something failed; None if it did not."""


def attach(daemon: Daemon, domain: Domain, device: NewDevice, then: Then) -> None:
    """Make a device's nodes and have its backend served; its descriptors are taken."""
    kind, devid = device.kind, device.devid

    def attached(result: Any, _fds: list[int]) -> None:
        if isinstance(result, Exception):
            _remove_nodes(daemon, domain, kind, devid)
            then(_failure(domain, result))
        else:
            then(None)

    try:
        process = connection(domain)
        nodes.create(daemon.store, domain.domid, kind, devid, device.frontend, device.backend)
    except (DaemonError, XenstoreError) as error:
        device.close()
        then(DaemonError(str(error)))
        return
    params = {"kind": kind, "devid": devid, "settings": device.settings}
    process.call("attach_device", params, attached, device.take_fds())


def change(daemon: Daemon, domain: Domain, device: NewDevice, then: Then) -> None:
    """Have a device's backend take new settings and descriptors, as of another medium in a drive."""

    def changed(result: Any, _fds: list[int]) -> None:
        if isinstance(result, Exception):
            then(_failure(domain, result))
            return
        back = nodes.backend_path(domain.domid, device.kind, device.devid)
        for name, value in device.backend.items():
            daemon.store.write(f"{back}/{name}", value)
        then(None)

    params = {"kind": device.kind, "devid": device.devid, "settings": device.settings}
    try:
        process = connection(domain)
    except DaemonError:
        device.close()
        raise
    process.call("change_device", params, changed, device.take_fds())


def detach(daemon: Daemon, domain: Domain, kind: str, devid: int, then: Then) -> None:
    """Ask the guest to let go of a device, which then goes.

    A guest that takes longer than DETACH_TIMEOUT_S is reported as a failure; the device goes still as
    soon as it is let go.
    """
    removal = _Removal(daemon, domain, kind, devid, then)
    removal.start(DETACH_TIMEOUT_S, removal.refuse)


def force_detach(daemon: Daemon, domain: Domain, kind: str, devid: int, then: Then) -> None:
    """Ask the guest to let go of a device, which goes soon in any case."""
    removal = _Removal(daemon, domain, kind, devid, then)
    removal.start(FORCE_TIMEOUT_S, removal.finish)


def resume_removals(daemon: Daemon, domain: Domain) -> None:
    """Go on waiting for devices that an earlier daemon has asked the guest to let go of."""
    for kind, devid in _all(daemon, domain):
        if nodes.is_removal_requested(daemon.store, domain.domid, kind, devid):
            _Removal(daemon, domain, kind, devid, lambda _error: None).wait()


def _take_away(daemon: Daemon, domain: Domain, kind: str, devid: int, then: Then) -> None:
    """End a device's backend, then remove its nodes."""

    def detached(result: Any, _fds: list[int]) -> None:
        if not isinstance(result, Exception):
            _remove_nodes(daemon, domain, kind, devid)
        # Somebody else may have been faster.
        elif not domain.released and exists(daemon, domain, kind, devid):
            then(_failure(domain, result))
            return
        then(None)

    connection(domain).call("detach_device", {"kind": kind, "devid": devid}, detached)


def detach_all(daemon: Daemon, domain: Domain, then: Callable[[], None]) -> None:
    """Take all devices away from a domain that does not run any more; call back when they are gone."""
    left = _all(daemon, domain)

    def next_one(_error: DaemonError | None) -> None:
        if not left or domain.connection is None or domain.process_ended:
            then()
        else:
            _take_away(daemon, domain, *left.pop(), next_one)

    next_one(None)


def _all(daemon: Daemon, domain: Domain) -> list[tuple[str, int]]:
    """The devices of a domain: their kinds and numbers."""
    directory = f"/libxl/{domain.domid}/device"
    kinds = daemon.store.directory(directory) if daemon.store.exists(directory) else []
    return [
        (kind, int(devid))
        for kind in kinds
        for devid in daemon.store.directory(f"{directory}/{kind}")
    ]


def exists(daemon: Daemon, domain: Domain, kind: str, devid: int) -> bool:
    """Whether a domain has a device."""
    return daemon.store.exists(nodes.libxl_path(domain.domid, kind, devid))


def infos(daemon: Daemon, domain: Domain, kind: str) -> list[DeviceInfo]:
    """What is to be seen of a domain's devices of a kind, by number."""
    store, domid = daemon.store, domain.domid
    directory = f"/libxl/{domid}/device/{kind}"
    devids = store.directory(directory) if store.exists(directory) else []
    return [_info(daemon, domid, kind, devid) for devid in sorted(map(int, devids))]


def _info(daemon: Daemon, domid: int, kind: str, devid: int) -> DeviceInfo:
    front = nodes.frontend_path(domid, kind, devid)

    def number(name: str, default: int) -> int:
        path = f"{front}/{name}"
        text = daemon.store.read(path) if daemon.store.exists(path) else b""
        # The guest may have written anything there.
        return int(text) if text.isdigit() and len(text) < 10 else default

    return DeviceInfo(
        devid=devid,
        backend_domid=0,
        frontend_domid=domid,
        state=number("state", -1),
        event_channel=number("event-channel", -1),
        ring_ref=number("ring-ref", -1),
        backend=nodes.backend_path(domid, kind, devid),
    )


def connection(domain: Domain) -> LoopConnection:
    """To the domain's process; DaemonError if that has ended."""
    if domain.connection is None or domain.process_ended:
        raise DaemonError(f"Domain {domain.domid} has lost its process")
    return domain.connection


def answer(request: Request) -> Then:
    """Confirms a request, or answers with the error that it is called with."""

    def then(error: DaemonError | None) -> None:
        if error is None:
            request.reply()
        else:
            request.fail(str(error))

    return then


class _Removal:
    """A device on its way out, which waits for the guest."""

    def __init__(self, daemon: Daemon, domain: Domain, kind: str, devid: int, then: Then) -> None:
        self._daemon = daemon
        self._domain = domain
        self._kind = kind
        self._devid = devid
        self._then: Then | None = then
        self._watch: Watch | None = None
        self._timer: Timer | None = None

    def start(self, timeout: float, too_late: Callable[[], None]) -> None:
        """Ask the frontend, if there is one, to let go; ``too_late`` is called after ``timeout``."""
        store, domid = self._daemon.store, self._domain.domid
        front = f"{nodes.frontend_path(domid, self._kind, self._devid)}/state"
        nobody = not store.exists(front) or store.read(front) == b"%d" % XenbusState.Initialising
        if nobody:
            self.finish()
            return
        nodes.request_removal(store, domid, self._kind, self._devid)
        self._timer = self._daemon.loop.call_later(timeout, too_late)
        self.wait()

    def wait(self) -> None:
        """Have the device go once the frontend, which has been asked, has let go of it."""
        back = nodes.backend_path(self._domain.domid, self._kind, self._devid)
        self._watch = self._daemon.store.watch(f"{back}/state", self._look)

    def _look(self, _path: str) -> None:
        if self._watch is None:
            return
        device = (self._daemon.store, self._domain.domid, self._kind, self._devid)
        if nodes.is_closed(*device):
            if self._timer is not None:
                self._timer.cancel()
            self.finish()
        else:
            nodes.insist_on_removal(*device)

    def finish(self) -> None:
        """The guest has let go of the device, or has had its time."""
        if self._watch is not None:
            self._daemon.store.unwatch(self._watch)
            self._watch = None
        if self._domain.released or not exists(self._daemon, self._domain, self._kind, self._devid):
            self._report(None)
            return
        try:
            _take_away(self._daemon, self._domain, self._kind, self._devid, self._report)
        except DaemonError as error:
            self._report(error)

    def refuse(self) -> None:
        """The guest has had its time, and keeps the device until it lets go of it."""
        self._report(
            DaemonError(
                f"Domain {self._domain.domid} has not let go of the device in "
                f"{DETACH_TIMEOUT_S:g} s: it is in use there"
            )
        )

    def _report(self, error: DaemonError | None) -> None:
        then, self._then = self._then, None
        if then is not None:
            then(error)


def _failure(domain: Domain, result: Exception) -> DaemonError:
    gone = isinstance(result, rpc.ProtocolError)
    return DaemonError(f"Domain {domain.domid} has ended" if gone else str(result))


def _remove_nodes(daemon: Daemon, domain: Domain, kind: str, devid: int) -> None:
    if not domain.released:
        nodes.remove(daemon.store, domain.domid, kind, devid)
