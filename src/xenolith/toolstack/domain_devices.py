"""The devices of a domain in its process: attached, changed and detached as the daemon asks.

Files come in on the I/O thread, where images are made of them; the bus and its backends live in the
hypervisor thread.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from xenolith.backends.io_thread import IoThread
from xenolith.backends.xenbus import Device, Nodes, StoreClient, Xenbus
from xenolith.machine.event_loop import READ, EventLoop
from xenolith.storage.errors import ImageError
from xenolith.toolstack import rpc
from xenolith.toolstack.devices import coalescing, vif
from xenolith.toolstack.devices.backends import BACKENDS, CHANGES
from xenolith.toolstack.rpc_loop import Request

if TYPE_CHECKING:
    from xenolith.toolstack.machine import Machine


class DomainDevices:
    """Methods run in the I/O thread, except where they say so."""

    def __init__(self, loop: EventLoop, machine: Machine) -> None:
        self._loop = loop
        self._machine = machine
        self._io = IoThread(loop, machine.post, machine.doze)
        loop.watch(machine.doze.fileno(), READ, lambda _events: machine.doze.overdue())
        self._store = StoreClient(loop, machine.post)
        self._bus: Xenbus | None = None
        self._coalescing: set[Device] = set()

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
            request.fail(str(error))
            return
        if self._bus is None:
            self._bus = Xenbus(guest, self._store)
        bus = self._bus

        def add() -> None:
            try:
                bus.add(kind, devid, backend)
            except ValueError as error:
                backend.close()
                self._fail(request, error)
            else:
                self._loop.post(request.reply)

        self._machine.post(add)

    def change(self, request: Request) -> None:
        """Change a device as ``settings`` and descriptors say; answered when that is done."""
        kind, settings = request.params["kind"], request.params["settings"]

        def prepare(device: Device) -> None:
            if self._is_coalescing(device, request):
                return
            try:
                change = CHANGES[kind](device.backend, self._io, settings, request.fds)
            except (ImageError, OSError, ValueError) as error:
                request.fail(str(error))
            else:
                self._machine.post(lambda: change(lambda nodes: done(device, nodes)))

        def done(device: Device, nodes: Nodes) -> None:
            device.update(nodes)
            self._loop.post(request.reply)

        self._with_device(request, prepare)

    def coalesce(self, request: Request) -> None:
        """Coalesce a disk's files as ``settings`` say (devices/coalescing.py), while it is served."""

        def start(device: Device) -> None:
            if self._is_coalescing(device, request):
                return
            self._coalescing.add(device)
            coalescing.start(
                device.backend,
                request.params["settings"],
                request.fds,
                lambda failure: self._loop.post(lambda: ended(device, failure)),
            )

        def ended(device: Device, failure: str | None) -> None:
            self._coalescing.discard(device)
            if failure is None:
                request.reply()
            else:
                request.fail(failure)

        self._with_device(request, start)

    def detach(self, request: Request) -> None:
        """Serve a device no more; answered when nothing of it is in use."""

        def remove() -> None:
            try:
                self._find(request)
            except ValueError as error:
                self._fail(request, error)
                return
            assert self._bus is not None
            kind, devid = request.params["kind"], request.params["devid"]
            self._bus.remove(kind, devid, lambda: self._loop.post(request.reply))

        self._machine.post(remove)

    def nic_statistics(self, request: Request) -> None:
        """Answer with what has gone over each network interface, by number."""

        def count() -> None:
            bus = self._bus
            nics = [nic for kind in vif.KINDS for nic in bus.of_kind(kind)] if bus else []
            counted = {str(devid): vif.statistics(nic.backend) for devid, nic in nics}
            self._loop.post(lambda: request.reply(counted))

        self._machine.post(count)

    def resumed(self) -> None:
        """The domain runs again after it was held. Hypervisor thread."""
        if self._bus is not None:
            self._bus.resumed()

    def close(self) -> None:
        """Let go of all files and their locks; the hypervisor thread has ended."""
        for device in self._bus or ():
            device.backend.close()

    def _with_device(self, request: Request, call: Callable[[Device], None]) -> None:
        """Call back, in the I/O thread, with the device that a request with files is about."""

        def find() -> None:
            try:
                device = self._find(request)
            except ValueError as error:
                rpc.close_all(request.fds)
                self._fail(request, error)
            else:
                self._loop.post(lambda: call(device))

        self._machine.post(find)

    def _is_coalescing(self, device: Device, request: Request) -> bool:
        """Whether a disk's files are being changed; the request fails then."""
        if device not in self._coalescing:
            return False
        rpc.close_all(request.fds)
        request.fail("The disk is being coalesced")
        return True

    def _find(self, request: Request) -> Device:
        """The device that a request is about; ValueError. Hypervisor thread."""
        kind, devid = request.params["kind"], request.params["devid"]
        if self._bus is None:
            raise ValueError(f"there is no {kind} {devid}")
        return self._bus.find(kind, devid)

    def _fail(self, request: Request, error: Exception) -> None:
        """Answer with an error. Hypervisor thread."""
        sentence = str(error)
        self._loop.post(lambda: request.fail(sentence))
