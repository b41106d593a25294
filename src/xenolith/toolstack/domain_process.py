"""The process of one domain: its I/O thread, between the machine, its clients and the daemon.

The zygote has forked it, and handed it the descriptors that it may use; it jails itself before it
looks at anything of the guest's.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import NamedTuple

from xenolith.abi.sched import ShutdownReason
from xenolith.builder.image_file import ImageFile
from xenolith.builder.packed_kernel import unpack_kernel
from xenolith.engine.choice import EngineName, open_devices
from xenolith.machine import jail
from xenolith.machine.event_loop import EventLoop
from xenolith.toolstack.config import DomainConfig
from xenolith.toolstack.console_clients import ConsoleClients
from xenolith.toolstack.console_log import ConsoleLog
from xenolith.toolstack.domain_control import DomainControl
from xenolith.toolstack.domain_devices import DomainDevices
from xenolith.toolstack.domain_scheduling import DomainScheduling
from xenolith.toolstack.machine import Assignment, Machine, MachineFactory
from xenolith.toolstack.rpc import Body
from xenolith.toolstack.status_page import StatusPage
from xenolith.toolstack.trace_clients import TraceClients
from xenolith.toolstack.xenstore_relay import XenstoreRelay


class Handover(NamedTuple):
    """What a domain process gets from the daemon: plain values, and descriptors by role."""

    domid: int
    config: Body
    fds: dict[str, int]
    """``control`` (listening), ``status``, ``console``, ``log``, ``xenstore`` (the guest's way to the
    store), ``backends`` (that of the devices' backends), perhaps ``kernel``
    and ``ramdisk``. Where there is a ``packed-kernel`` too, ``kernel`` is where to unpack it."""


def main(handover: Handover, build: MachineFactory) -> None:
    """Be the domain's process: build the machine and serve until it is stopped."""
    process = DomainProcess(handover)
    jail.enter(open_devices(EngineName(handover.config["engine"])))
    process.build(build)
    process.run()


class DomainProcess:
    """The root object of a domain process. It is also the machine's MachineEvents."""

    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self.loop = EventLoop()
        self.status = StatusPage(handover.fds["status"])
        os.close(handover.fds["status"])
        self.scheduling = DomainScheduling(self.status)
        self._log = ConsoleLog(handover.fds["console"])
        self.console = ConsoleClients(self.loop, self._log, self._type)
        self._tracers = TraceClients(self.loop)
        self.control = DomainControl(self, socket.socket(fileno=handover.fds["control"]))
        self.channels: dict[str, tuple[int, int]] = {}
        self.relay: XenstoreRelay | None = None
        self.devices: DomainDevices | None = None
        self.paused = True
        """The hypervisor thread's alone, once the machine is built."""
        self._machine: Machine | None = None
        self._hypervisor_ended = False
        self.stopping = False
        self._showing = False
        # The hypervisor thread's alone.
        self._untyped = b""

    def build(self, build: MachineFactory) -> None:
        """Build the machine; when that fails, the reason answers every request from now on."""
        self.status.set_paused()
        try:
            machine = build(self._assignment(), self)
        except Exception as error:
            traceback.print_exc()
            self.control.failure = str(error) or type(error).__name__
            return
        self._machine = machine
        self.channels = machine.channels
        self.relay = XenstoreRelay(self.loop, machine.xenstore, machine.post)
        self.devices = DomainDevices(self.loop, machine)
        self.connect_xenstore(self._handover.fds["xenstore"], self._handover.fds["backends"])
        threading.excepthook = self._hypervisor_failed
        machine.start()

    def connect_xenstore(self, guest: int, backends: int) -> None:
        """Go on over new connections to a xenstore daemon: descriptors of sockets."""
        assert self.relay is not None and self.devices is not None
        self.relay.connect(socket.socket(fileno=guest))
        self.devices.connect(socket.socket(fileno=backends))

    def run(self) -> None:
        """Serve until the domain is stopped and every console client has its bytes."""
        self.loop.run()

    def stop(self) -> None:
        """End the machine, then the process once its last output is delivered. I/O thread."""
        if self.stopping:
            return
        self.stopping = True
        if self._machine is not None:
            self._machine.stop()
            self._hypervisor_ended = True
        if self.devices is not None:
            self.devices.close()
        if self._machine is not None:
            self._machine.release()
        # Behind what the machine posted last.
        self.loop.post(self._drain)

    def post(self, call: Callable[[Machine], None]) -> None:
        """Make a call in the hypervisor thread, or here when that thread has ended. I/O thread."""
        machine = self._machine
        assert machine is not None, "requests are refused when the build has failed"
        if self._hypervisor_ended:
            self.loop.post(lambda: call(machine))
        else:
            machine.post(lambda: call(machine))

    def pause(self, machine: Machine) -> None:
        """Hold the vCPUs; twice is once: the machine counts, people do not. Hypervisor thread."""
        if not self.paused:
            self.paused = True
            machine.pause()
            self.status.set_paused()

    def unpause(self, machine: Machine) -> None:
        """Let the vCPUs run, and what had held them try again. Hypervisor thread."""
        if self.paused:
            self.paused = False
            self.status.clear_paused()
            machine.unpause()
            if self.devices is not None:
                self.devices.resumed()

    def trace(self, sock: socket.socket) -> Callable[[Machine], None]:
        """Take in a client who wants a line for each hypercall; what begins to send them to him.

        I/O thread; the answer is to be called in the hypervisor thread.
        """
        client = self._tracers.attach(sock)

        def begin(machine: Machine) -> None:
            def write(line: str) -> None:
                if not self._tracers.write(line):
                    machine.trace(None)

            self._tracers.begin(client)
            machine.trace(write)

        return begin

    def console_output(self, data: bytes) -> None:
        """See MachineEvents. The output is in the log when this returns, whatever comes next."""
        self._log.append(data)
        if self.console.attached and not self._showing:
            self._showing = True
            self.loop.post(self._show)

    def console_input_wanted(self) -> None:
        """See MachineEvents."""
        if self._untyped and self._machine is not None:
            self._offer_typed(self._machine, self._untyped)

    def xenstore_activity(self) -> None:
        """See MachineEvents."""
        if self.relay is not None:
            self.relay.on_activity()

    def hold(self, reason: str) -> None:
        """See MachineEvents."""
        self.log(reason)
        if self._machine is not None:
            self.pause(self._machine)

    def shut_down(self, reason: int) -> None:
        """See MachineEvents."""
        self.status.set_shutdown(reason)
        self.loop.post(lambda: self.control.tell_shutdown(reason))

    def log(self, line: str) -> None:
        """See MachineEvents."""
        self.loop.post(lambda: self.control.tell_log(line))

    def _assignment(self) -> Assignment:
        domid, plain, fds = self._handover
        config = DomainConfig.from_dict(plain)
        if "packed-kernel" in fds:
            unpack_kernel(ImageFile(fds["packed-kernel"], config.kernel or ""), fds["kernel"])
            os.close(fds["packed-kernel"])
        return Assignment(
            domid,
            config,
            ImageFile(fds["kernel"], config.kernel or "") if "kernel" in fds else None,
            ImageFile(fds["ramdisk"], config.ramdisk or "") if "ramdisk" in fds else None,
        )

    def _drain(self) -> None:
        """Deliver what clients have not read yet, then end."""
        left = 2

        def drained() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                self.loop.stop()

        self._tracers.drain(drained)
        self.console.drain(drained)

    def _show(self) -> None:
        self._showing = False
        self.console.show_new_output()

    def _type(self, data: bytes) -> None:
        self.post(lambda machine: self._offer_typed(machine, data))

    def _offer_typed(self, machine: Machine, data: bytes) -> None:
        """Give the guest what was typed, as far as it has room. Hypervisor thread."""
        self._untyped = data[machine.console_input(data) :]
        if not self._untyped:
            self.loop.post(self.console.take_typing)

    def _hypervisor_failed(self, failure: threading.ExceptHookArgs) -> None:
        """The hypervisor thread ended by a bug of ours: the domain has crashed, and says so."""
        self._hypervisor_ended = True
        traceback.print_exception(failure.exc_type, failure.exc_value, failure.exc_traceback)
        sys.stderr.flush()
        self.log(f"hypervisor failure: {failure.exc_type.__name__}: {failure.exc_value}")
        self.shut_down(ShutdownReason.crash)
