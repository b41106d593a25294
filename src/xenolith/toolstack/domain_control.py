"""What the daemon may ask of a domain process, over the process's control socket.

Every daemon that connects gets the same service, one after the other as they die and are
replaced; without any, the domain runs on.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from xenolith.toolstack import core_dump, rpc
from xenolith.toolstack.machine import CoreMemory, Machine
from xenolith.toolstack.rpc_loop import Listener, LoopConnection, Request

if TYPE_CHECKING:
    from xenolith.toolstack.domain_process import DomainProcess

_LOG_BURST = 20
_LOG_INTERVAL_S = 0.5
"""A guest may cause this many lines of the hypervisor log at once, and one more each interval."""


class DomainControl:
    """Serves the requests of daemons, and tells them what happens to the domain."""

    def __init__(self, process: DomainProcess, sock: socket.socket) -> None:
        self._process = process
        self._connections: set[LoopConnection] = set()
        self._shutdown_reason: int | None = None
        self._log_limit = _RateLimit()
        self.failure: str | None = None
        """Why there is no machine: the answer to everything."""
        Listener(process.loop, sock, self._accept)

    def tell_shutdown(self, reason: int) -> None:
        """Tell every daemon, those to come included, that the guest has shut down."""
        self._shutdown_reason = reason
        self._tell("shutdown", {"reason": reason})

    def tell_log(self, line: str) -> None:
        """Send a line to the hypervisor log, unless there were too many of late."""
        if self._log_limit.allows():
            self._tell("log", {"line": line})

    def _tell(self, method: str, params: rpc.Body) -> None:
        for connection in list(self._connections):
            connection.notify(method, params)

    def _accept(self, sock: socket.socket) -> None:
        connection = LoopConnection(
            self._process.loop, sock, self._serve, lambda: self._connections.discard(connection)
        )
        self._connections.add(connection)
        if self._shutdown_reason is not None:
            connection.notify("shutdown", {"reason": self._shutdown_reason})

    def _serve(self, request: Request) -> None:
        if request.method == "stop":
            self._process.stop()
            request.reply()
        elif self.failure is not None:
            rpc.close_all(request.fds)
            request.fail(self.failure)
        elif request.method in _HANDLERS:
            _HANDLERS[request.method](self._process, request)
        else:
            rpc.close_all(request.fds)
            request.fail(f"No such request: {request.method}", rpc.METHOD_NOT_FOUND)


class _RateLimit:
    """A token bucket."""

    def __init__(self) -> None:
        self._tokens = float(_LOG_BURST)
        self._filled = time.monotonic()

    def allows(self) -> bool:
        now = time.monotonic()
        self._tokens = min(_LOG_BURST, self._tokens + (now - self._filled) / _LOG_INTERVAL_S)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _ready(process: DomainProcess, request: Request) -> None:
    """Answered when the machine is built, because nothing is served before."""
    request.reply(process.channels)


def _pause(process: DomainProcess, request: Request) -> None:
    _in_hypervisor(process, request, process.pause)


def _unpause(process: DomainProcess, request: Request) -> None:
    _in_hypervisor(process, request, process.unpause)


def _trigger(process: DomainProcess, request: Request) -> None:
    name, vcpu = request.params["name"], request.params["vcpu"]
    _in_hypervisor(process, request, lambda machine: machine.trigger(name, vcpu))


def _set_max_memory(process: DomainProcess, request: Request) -> None:
    kib = request.params["kib"]
    _in_hypervisor(process, request, lambda machine: machine.set_max_memory(kib))


def _schedule(process: DomainProcess, request: Request) -> None:
    _in_hypervisor(process, request, process.scheduling.follow(request.params, request.fds))


def _console(process: DomainProcess, request: Request) -> None:
    process.console.attach(socket.socket(fileno=request.fds[0]))
    request.reply()


def _trace(process: DomainProcess, request: Request) -> None:
    begin = process.trace(socket.socket(fileno=request.fds[0]))
    _in_hypervisor(process, request, begin)


def _xenstore(process: DomainProcess, request: Request) -> None:
    guest, backends = request.fds
    process.connect_xenstore(guest, backends)
    request.reply()


def _restore_watches(process: DomainProcess, request: Request) -> None:
    assert process.relay is not None
    process.relay.restore_watches()
    request.reply()


def _attach_device(process: DomainProcess, request: Request) -> None:
    assert process.devices is not None
    process.devices.attach(request)


def _detach_device(process: DomainProcess, request: Request) -> None:
    assert process.devices is not None
    process.devices.detach(request)


def _change_device(process: DomainProcess, request: Request) -> None:
    assert process.devices is not None
    process.devices.change(request)


def _coalesce_disk(process: DomainProcess, request: Request) -> None:
    assert process.devices is not None
    process.devices.coalesce(request)


def _nic_statistics(process: DomainProcess, request: Request) -> None:
    assert process.devices is not None
    process.devices.nic_statistics(request)


def _dump_core(process: DomainProcess, request: Request) -> None:
    def start(machine: Machine) -> None:
        arguments = (process, request, machine.core_memory())
        threading.Thread(target=_write_core, args=arguments, name="core-dump").start()

    process.post(start)


def _write_core(process: DomainProcess, request: Request, memory: CoreMemory) -> None:
    """Write the dump in a thread of its own: it takes seconds, and consoles go on."""
    (fd,) = request.fds
    failure: str | None = None
    try:
        core_dump.write(fd, memory.fd, memory.stretches)
    except OSError as error:
        failure = error.strerror
    finally:
        os.close(fd)
    process.loop.post(lambda: _report_core(process, request, failure))


def _report_core(process: DomainProcess, request: Request, failure: str | None) -> None:
    if process.stopping:
        failure = "the domain was destroyed, and its memory with it"
    if failure is None:
        request.reply()
    else:
        request.fail(f"The core dump failed: {failure}")


def _in_hypervisor(
    process: DomainProcess, request: Request, call: Callable[[Machine], None]
) -> None:
    """Make a call in the hypervisor thread and answer when it is done."""

    def run(machine: Machine) -> None:
        try:
            call(machine)
        except ValueError as error:
            sentence = str(error)
            process.loop.post(lambda: request.fail(sentence))
        else:
            process.loop.post(request.reply)

    process.post(run)


_HANDLERS: dict[str, Callable[[DomainProcess, Request], None]] = {
    "ready": _ready,
    "pause": _pause,
    "unpause": _unpause,
    "trigger": _trigger,
    "set_max_memory": _set_max_memory,
    "schedule": _schedule,
    "console": _console,
    "trace": _trace,
    "xenstore": _xenstore,
    "restore_watches": _restore_watches,
    "attach_device": _attach_device,
    "detach_device": _detach_device,
    "change_device": _change_device,
    "coalesce_disk": _coalesce_disk,
    "nic_statistics": _nic_statistics,
    "dump_core": _dump_core,
}
