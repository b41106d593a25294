"""A machine without a guest, at the seam of toolstack.machine: for tests of the toolstack alone.

Its "guest" is a few lines of Python in a thread. It prints, echoes, obeys words typed at its
console, and does with xenstore what Linux does: it reads its name and watches control/shutdown.
"""

from __future__ import annotations

import ctypes
import functools
import os
import queue
import threading
import time
from collections.abc import Callable

from xenolith.abi.sched import ShutdownReason
from xenolith.abi.vcpu import Runstate
from xenolith.abi.xs_wire import MessageType, RingError
from xenolith.backends.xenbus import Guest
from xenolith.builder.errors import BuildError
from xenolith.hypervisor.throttle import Throttle
from xenolith.machine.address import GuestPhys, Mfn
from xenolith.machine.doze import Doze
from xenolith.machine.memory import MachineMemory
from xenolith.toolstack.core_dump import MemoryStretch
from xenolith.toolstack.machine import Assignment, CoreMemory, MachineEvents
from xenolith.xenstore.protocol import Message, MessageParser, encode

_REASONS = {
    "poweroff": ShutdownReason.poweroff,
    "reboot": ShutdownReason.reboot,
    "crash": ShutdownReason.crash,
    "watchdog": ShutdownReason.watchdog,
    "suspend": ShutdownReason.suspend,
}
_INPUT_ROOM = 16


class Ring:
    """Both byte streams, without limits."""

    reset_wanted = False
    stopped = False

    def __init__(self, received: Callable[[bytes], None]) -> None:
        self.to_host = b""
        self._received = received

    def read(self, limit: int) -> bytes:
        data, self.to_host = self.to_host[:limit], self.to_host[limit:]
        return data

    def write(self, data: bytes) -> int:
        self._received(data)
        return len(data)

    def stop(self, error: RingError) -> None:
        raise AssertionError(f"the guest has done nothing wrong: {error}")

    def reset(self) -> None:
        raise AssertionError("the guest has not asked for it")


class FakeMachine:
    def __init__(self, assignment: Assignment, events: MachineEvents) -> None:
        self._assignment = assignment
        self._config = assignment.config
        self._events = events
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="hypervisor")
        self.doze = Doze()
        self._booted = False
        self._pauses = 1
        self._line = b""
        self._sink: Callable[[str], None] | None = None
        self._parser = MessageParser()
        self._requests = 0
        self.xenstore = Ring(self._xenstore_received)
        self.channels = {"store": (1, 0xFEFFC), "console": (2, 0xFEFFF)}
        self._memory = MachineMemory(self._config.memory << 8)
        self._memory.write(0x5000, b"memory of " + self._config.name.encode())
        events.status.set_memory(self._config.memory << 10)
        events.status.set_max_memory(self._config.maxmem << 10)
        events.status.set_vcpus(self._config.maxvcpus)
        self._show_vcpus(Runstate.blocked)

    def start(self) -> None:
        self._thread.start()

    def post(self, call: Callable[[], None]) -> None:
        self._calls.put(call)

    def stop(self) -> None:
        self._calls.put(None)
        self._thread.join()

    def release(self) -> None:
        self._memory.discard(Mfn(0), self._memory.frames)

    def pause(self) -> None:
        self._pauses += 1

    def unpause(self) -> None:
        self._pauses -= 1
        if not self._booted:
            self._booted = True
            self._boot()
        self._events.console_input_wanted()

    def console_input(self, data: bytes) -> int:
        if self._pauses:
            return 0
        taken = data[:_INPUT_ROOM]
        self._print(taken)
        self._line += taken
        while b"\n" in self._line:
            line, _, self._line = self._line.partition(b"\n")
            self._obey(line.decode())
        if len(taken) < len(data):
            self.post(self._events.console_input_wanted)
        return len(taken)

    def trigger(self, name: str, vcpu: int) -> None:
        if name != "nmi":
            raise ValueError(f"this guest knows no {name}")
        self._print(f"NMI on {vcpu}\n".encode())

    def set_max_memory(self, kib: int) -> None:
        self._events.status.set_max_memory(kib)

    def throttle(self, throttle: Throttle | None) -> None:
        self._print_orders(b"throttled\n" if throttle else b"free to run\n")

    def set_slices(self, slice_ns: int, wake_slice_ns: int) -> None:
        self._print_orders(f"slices: {slice_ns} {wake_slice_ns}\n".encode())

    def core_memory(self) -> CoreMemory:
        stretch = MemoryStretch(GuestPhys(0), 0, self._memory.size)
        return CoreMemory(self._memory.fd, [stretch])

    def guest(self) -> Guest:
        raise AssertionError("this machine has no devices")

    def trace(self, sink: Callable[[str], None] | None) -> None:
        self._sink = sink

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def _boot(self) -> None:
        self._print(f"{self._config.name} booted: {self._config.cmdline}\n".encode())
        if self._assignment.kernel is not None:
            self._print(b"kernel: " + self._assignment.kernel.read(0, 4) + b"\n")
        self._ask(MessageType.READ, b"name\0")
        self._ask(MessageType.WATCH, b"control/shutdown\0shutdown\0")
        for word in self._config.cmdline.split():
            self._obey(word)

    def _obey(self, line: str) -> None:
        """Do what a line typed at the console, or a word of the command line, says."""
        word, _, argument = line.partition(" ")
        if self._sink is not None:
            self._sink(f"obey({line!r}) = 0")
        if word in _REASONS:
            self._show_vcpus(Runstate.offline)
            self._events.shut_down(_REASONS[word])
        elif word == "segfault":
            ctypes.string_at(0)
        elif word == "bug":
            raise RuntimeError("a bug of the hypervisor")
        elif word == "log":
            self._events.log(argument)
        elif word == "print":
            self._print(b"x" * int(argument) + b"\n")
        elif word == "fill":
            self._memory.write(0, bytes(self._memory.size))
        elif word == "open":
            try:
                os.open("/etc/passwd", os.O_RDONLY)
            except OSError as error:
                self._print(f"open: {error.strerror}\n".encode())
        elif word == "read":
            self._ask(MessageType.READ, argument.encode() + b"\0")
        elif word == "write":
            path, _, value = argument.partition(" ")
            self._ask(MessageType.WRITE, f"{path}\0{value}".encode())

    def _ask(self, kind: MessageType, payload: bytes) -> None:
        self._requests += 1
        self.xenstore.to_host += encode(kind, self._requests, 0, payload)
        self._events.xenstore_activity()

    def _xenstore_received(self, data: bytes) -> None:
        for message in self._parser.feed(data):
            # The guest looks at its ring later, not while the hypervisor fills it.
            self.post(functools.partial(self._xenstore_message, message))

    def _xenstore_message(self, message: Message) -> None:
        if message.type == MessageType.WATCH_EVENT:
            self._ask(MessageType.READ, b"control/shutdown\0")
        elif message.payload in (b"poweroff", b"reboot"):
            self._ask(MessageType.WRITE, b"control/shutdown\0")
            self._print(b"shutting down\n")
            self._obey(message.payload.decode())
        elif message.type in (MessageType.READ, MessageType.ERROR):
            self._print(b"xenstore: " + message.payload.strip(b"\0") + b"\n")

    def _print_orders(self, text: bytes) -> None:
        if self._config.cmdline == "orders":
            self._print(text)

    def _print(self, data: bytes) -> None:
        self._events.console_output(data)

    def _show_vcpus(self, state: Runstate) -> None:
        for vcpu in range(self._config.vcpus):
            self._events.status.set_vcpu(vcpu, state, 1_000_000 * (vcpu + 1))


def build(assignment: Assignment, events: MachineEvents) -> FakeMachine:
    if assignment.config.cmdline == "unbuildable":
        raise BuildError("the kernel is not a kernel")
    if assignment.config.cmdline == "slow":
        time.sleep(60)
    return FakeMachine(assignment, events)
