"""One device as its backend's side of the bus sees it: the states of public/io/xenbus.h.

The transitions are those of Linux's backends (xen_blkbk's frontend_changed and its like).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from xenolith.abi.errno import XenError
from xenolith.abi.xenbus import XenbusState
from xenolith.backends.xenbus.errors import XenbusError
from xenolith.backends.xenbus.nodes import Nodes
from xenolith.backends.xenbus.store_client import StoreClient, Watch
from xenolith.hypervisor.grant_table import GrantError

Then = Callable[[], None]

_STATES = {str(state.value): state for state in XenbusState}


class DeviceBackend(Protocol):
    """What serves one device; all calls are made in the hypervisor thread. To be subclassed."""

    def bound(self, write: Callable[[Nodes], None]) -> None:
        """The device is on the bus, and ``write`` sets nodes in the backend's directory from now on."""
        return

    def features(self) -> Nodes:
        """What is written below the backend's directory before InitWait."""
        return {}

    def connect(self, frontend: Nodes) -> Nodes:
        """Take up the rings that a frontend offers; return what is written before Connected.

        XenbusError, XenError, GrantError if they make no sense; ``disconnect`` is called then.
        """
        ...

    def disconnect(self, then: Then) -> None:
        """Give everything of the guest's back, then call ``then``; at once if there is nothing.

        What is under way comes to its end first. May be called again before it has.
        """
        ...

    def watched(self) -> Sequence[str]:
        """Nodes that the frontend may write while it is connected; changed() tells of them."""
        return ()

    def changed(self, frontend: Nodes) -> None:
        """A connected frontend has written one of the watched nodes; XenbusError if it makes no sense."""
        return

    def reconfigure(self, frontend: Nodes) -> Nodes:
        """Serve a frontend that went to Reconfiguring; return what is written before Reconfigured."""
        raise XenbusError("the device cannot be reconfigured")

    def resumed(self) -> None:
        """The domain runs again after `xl unpause`: make a new attempt at what held it."""
        return

    def close(self) -> None:
        """The device is gone: release what was opened for it.

        It is disconnected, or the hypervisor thread has ended; then wait for what is under way.
        """
        ...


class Device:
    """The state machine of one backend directory, from the first InitWait to :meth:`remove`."""

    def __init__(
        self,
        store: StoreClient,
        path: str,
        frontend: str,
        backend: DeviceBackend,
        log: Callable[[str], None],
    ) -> None:
        """``path`` and ``frontend`` are the two directories in xenstore, which exist."""
        self.path = path
        self.frontend = frontend
        self.backend = backend
        self.state = XenbusState.Initialising
        self._store = store
        self._log = log
        self._watches: list[Watch] = []
        self._busy = False
        """The frontend is being read, or what was connected is being disconnected."""
        self._look_again = False
        self._telling = False
        """The frontend is being read for what it has written to a watched node."""
        self._tell_again = False
        self._removed = False

    def start(self) -> None:
        """Offer the device to the frontend."""
        self.backend.bound(self._write)
        self._offer()
        watch, front = self._store.watch, self.frontend
        self._watches = [watch(f"{front}/state", self._frontend_changed)]
        for name in self.backend.watched():
            self._watches.append(watch(f"{front}/{name}", self._node_changed))

    def update(self, nodes: Nodes) -> None:
        """Write nodes and have a connected frontend look at them, as for a disk's new size."""
        self._write(nodes)
        if self.state == XenbusState.Connected:
            self._switch(XenbusState.Connected)

    def remove(self, then: Then) -> None:
        """Forget the device, whatever the frontend makes of it; ``then`` is called at the end."""
        self._removed = True
        for watch in self._watches:
            self._store.unwatch(watch)
        self._watches = []

        def disconnected() -> None:
            self.backend.close()
            then()

        self.backend.disconnect(disconnected)

    def _offer(self) -> None:
        self._write(self.backend.features())
        self._switch(XenbusState.InitWait)

    def _frontend_changed(self) -> None:
        if self._busy:
            self._look_again = True
        else:
            self._busy = True
            self._store.snapshot(self.frontend, self._look)

    def _node_changed(self) -> None:
        if self._telling:
            # A frontend can write faster than all of its nodes are read.
            self._tell_again = True
        elif self.state == XenbusState.Connected:
            self._telling = True
            self._store.snapshot(self.frontend, self._told)

    def _told(self, nodes: Nodes | None) -> None:
        self._telling = False
        self._tell(nodes)
        if self._tell_again:
            self._tell_again = False
            self._node_changed()

    def _tell(self, nodes: Nodes | None) -> None:
        """Tell the backend what a frontend has written that may have closed meanwhile."""
        if nodes is None or self._removed or self.state != XenbusState.Connected:
            return
        try:
            self.backend.changed(nodes)
        except XenbusError as error:
            self._log(f"{self.path}: {error}")

    def _look(self, nodes: Nodes | None) -> None:
        """Follow the frontend's state, which may have skipped some since the last look."""
        if self._removed:
            return
        match _state_of(nodes):
            case XenbusState.Initialising if self.state != XenbusState.InitWait:
                self._disconnect(self._offer)
                return
            case XenbusState.Initialised | XenbusState.Connected if nodes is not None:
                self._connect(nodes)
            case XenbusState.Reconfiguring if nodes is not None:
                self._reconfigure(nodes)
            case XenbusState.Closing:
                self._leave(XenbusState.Closing)
                return
            case XenbusState.Closed | XenbusState.Unknown:
                self._leave(XenbusState.Closed)
                return
            case _:
                pass
        self._settled()

    def _connect(self, nodes: Nodes) -> None:
        if self.state == XenbusState.Reconfigured:
            self._switch(XenbusState.Connected)
        elif self.state == XenbusState.InitWait:
            self._attempt(self.backend.connect, nodes, XenbusState.Connected)

    def _reconfigure(self, nodes: Nodes) -> None:
        if self.state == XenbusState.Connected:
            self._attempt(self.backend.reconfigure, nodes, XenbusState.Reconfigured)

    def _attempt(self, step: Callable[[Nodes], Nodes], nodes: Nodes, then: XenbusState) -> None:
        """Take a step to another state; where the frontend makes that impossible, close."""
        try:
            answer = step(nodes)
        except (XenbusError, XenError, GrantError) as error:
            self._log(f"{self.path}: {error}")
            self._write({"error": str(error)})
            self._leave(XenbusState.Closing)
        else:
            self._write(answer)
            self._switch(then)

    def _leave(self, state: XenbusState) -> None:
        self._disconnect(lambda: self._switch_unless(state))

    def _disconnect(self, then: Then) -> None:
        def disconnected() -> None:
            if not self._removed:
                then()
                self._settled()

        self._busy = True
        self.backend.disconnect(disconnected)

    def _settled(self) -> None:
        """The look at the frontend is over; look again if it has changed meanwhile."""
        self._busy = False
        if self._look_again:
            self._look_again = False
            self._frontend_changed()

    def _switch_unless(self, state: XenbusState) -> None:
        if self.state != state:
            self._switch(state)

    def _switch(self, state: XenbusState) -> None:
        self.state = state
        self._write({"state": str(state.value)})

    def _write(self, nodes: Nodes) -> None:
        for name, value in nodes.items():
            self._store.write(f"{self.path}/{name}", value)


def _state_of(nodes: Nodes | None) -> XenbusState:
    """The state that a frontend is in; Unknown for one that is gone or writes nonsense."""
    return _STATES.get((nodes or {}).get("state", ""), XenbusState.Unknown)
