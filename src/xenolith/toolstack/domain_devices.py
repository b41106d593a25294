"""The devices of a domain in its process: attached, changed and detached as the daemon asks.

Files come in on the I/O thread, where images are made of them; the bus and its backends live in the
hypervisor thread.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from xenolith.backends.io_thread import IoThread
from xenolith.backends.xenbus import StoreClient, Xenbus
from xenolith.machine.event_loop import EventLoop
from xenolith.storage.errors import ImageError
from xenolith.toolstack import rpc
from xenolith.toolstack.devices.backends import BACKENDS
from xenolith.toolstack.rpc_loop import Request

if TYPE_CHECKING:
    from xenolith.toolstack.machine import Machine


class DomainDevices:
    """Methods run in the I/O thread, except where they say so."""

    def __init__(self, loop: EventLoop, machine: Machine) -> None:
        self._loop = loop
        self._machine = machine
        self._io = IoThread(loop, machine.post)
        self._store = StoreClient(loop, machine.post)
        self._bus: Xenbus | None = None

    def connect(self, sock: socket.socket) -> None:
        """Go on over a new connection to xenstore, in place of any other."""
        self._store.connect(sock)

    def attach(self, request: Request) -> None:
        """Serve a device (``kind``, ``devid``, ``settings``, descriptors) whose nodes are there."""
        kind, devid = request.params["kind"], request.params["devid"]
        guest = self._machine.guest()
        try:
            backend = BACKENDS[kind](guest, self._io, request.params["settings"], request.fds)
        except (ImageError, OSError, ValueError) as error:
            rpc.close_all(request.fds)
            request.fail(str(error))
            return
        if self._bus is None:
            self._bus = Xenbus(guest, self._store)
        bus = self._bus
        self._in_hypervisor(request, lambda: bus.add(kind, devid, backend))

    def detach(self, request: Request) -> None:
        """Serve a device no more; answered when nothing of it is in use."""
        kind, devid = request.params["kind"], request.params["devid"]

        def run() -> None:
            if self._bus is None:
                raise ValueError(f"there is no {kind} {devid}")
            self._bus.remove(kind, devid, lambda: self._loop.post(request.reply))

        self._run(request, run)

    def resumed(self) -> None:
        """The domain runs again after it was held. Hypervisor thread."""
        if self._bus is not None:
            self._bus.resumed()

    def close(self) -> None:
        """Let go of all files and their locks; the hypervisor thread has ended."""
        for device in self._bus or ():
            device.backend.close()

    def _in_hypervisor(self, request: Request, call: Callable[[], object]) -> None:
        """Make a call in the hypervisor thread and answer when it is done."""

        def run() -> None:
            call()
            self._loop.post(request.reply)

        self._run(request, run)

    def _run(self, request: Request, call: Callable[[], None]) -> None:
        def run() -> None:
            try:
                call()
            except ValueError as error:
                sentence = str(error)
                self._loop.post(lambda: request.fail(sentence))

        self._machine.post(run)
