"""Where an interface is plugged in: a wire, what counts and limits it, and who captures it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from xenolith.machine.event_loop import READ, WRITE
from xenolith.net.capture import Capture
from xenolith.net.errors import WireClosedError
from xenolith.net.frame import Frame
from xenolith.net.token_bucket import TokenBucket
from xenolith.net.wire import Wire


class Watch(Protocol):
    """A descriptor that somebody watches for the hypervisor thread."""

    def arm(self, events: int) -> None:
        """Call back once, when the descriptor is ready for one of these events."""

    def close(self) -> None:
        """Watch it no more, then close the wire that it was."""


class Readiness(Protocol):
    """The I/O thread's services to the hypervisor thread, which is where it calls back."""

    def watch(self, wire: Wire, ready: Callable[[], None]) -> Watch:
        """Watch a wire from its first :meth:`Watch.arm` on."""

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Call back once time.monotonic() has reached ``when`` (seconds)."""


@dataclass(slots=True)
class Statistics:
    """What has gone over the interface, as the guest's own counters name it."""

    rx_packets: int = 0
    rx_bytes: int = 0
    rx_dropped: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    tx_dropped: int = 0


class Attachment:
    """An interface's way to its network; ``rate`` limits what the guest transmits.

    Frames that the wire has no room for are kept here, and the guest waits.
    """

    def __init__(
        self, readiness: Readiness, rate: TokenBucket | None, log: Callable[[str], None]
    ) -> None:
        self.statistics = Statistics()
        self.on_frames: Callable[[], None] = lambda: None
        """Called when there may be frames to receive."""
        self.on_room: Callable[[], None] = lambda: None
        """Called when there is room to send again, after :attr:`may_send` was False."""
        self._readiness = readiness
        self._rate = rate
        self._log = log
        self._wire: Wire | None = None
        self._watch: Watch | None = None
        self._capture: Capture | None = None
        self._unsent: list[Frame] = []
        self._waits_for_credit = False

    @property
    def may_send(self) -> bool:
        """Whether frames may be taken from the guest now."""
        return not self._unsent and not self._waits_for_credit

    def plug(self, wire: Wire) -> None:
        """Connect to a network, in place of any other; owns the wire."""
        self.unplug()
        self._wire = wire
        self._watch = self._readiness.watch(wire, self._ready)
        self._watch.arm(READ)

    def unplug(self) -> None:
        """Leave the network; what is sent from now on is dropped."""
        if self._watch is not None:
            self._watch.close()
        self._wire = self._watch = None
        self._unsent = []

    def close(self) -> None:
        """Release everything."""
        self.unplug()
        if self._capture is not None:
            self._capture.close()
            self._capture = None

    def capture(self, fd: int) -> None:
        """Copy all frames to a descriptor from now on, in place of any other; owns it."""
        if self._capture is not None:
            self._capture.close()
        self._capture = Capture(fd)

    def has_credit(self, size: int) -> bool:
        """Spend ``size`` bytes of what the guest may transmit; if there are none, wait for them."""
        if self._rate is None:
            return True
        when = self._rate.take(size)
        if when is None:
            return True
        self._waits_for_credit = True
        self._readiness.call_at(when, self._credit_came)
        return False

    def send(self, frames: Sequence[Frame]) -> None:
        """Send frames, now or later."""
        counted = self.statistics
        for frame in frames:
            counted.tx_packets += 1
            counted.tx_bytes += len(frame.data)
            self._copy(frame)
        self._send(frames)

    def receive(self) -> Frame | None:
        """The next frame, whose data is good until the next call; None: there will be a call."""
        if self._wire is None or self._watch is None:
            return None
        try:
            frame = self._wire.receive()
        except WireClosedError as error:
            self._lost(error)
            return None
        if frame is None:
            self._watch.arm(self._events())
            return None
        self.statistics.rx_packets += 1
        self.statistics.rx_bytes += len(frame.data)
        self._copy(frame)
        return frame

    def _send(self, frames: Sequence[Frame]) -> None:
        if self._wire is None or self._watch is None:
            self.statistics.tx_dropped += len(frames)
            return
        try:
            sent = self._wire.send(frames)
        except WireClosedError as error:
            self._lost(error)
            return
        if sent < len(frames):
            self._unsent = list(frames[sent:])
            self._watch.arm(READ | WRITE)

    def _ready(self) -> None:
        if self._unsent:
            waiting, self._unsent = self._unsent, []
            self._send(waiting)
            if self.may_send:
                self.on_room()
        self.on_frames()

    def _credit_came(self) -> None:
        self._waits_for_credit = False
        if self.may_send:
            self.on_room()

    def _copy(self, frame: Frame) -> None:
        if self._capture is not None and not self._capture.add(frame):
            self._capture.close()
            self._capture = None

    def _events(self) -> int:
        return READ | WRITE if self._unsent else READ

    def _lost(self, error: WireClosedError) -> None:
        self.unplug()
        self._log(f"the network is gone: {error}")


def token_bucket(bytes_per_interval: int, interval_us: int) -> TokenBucket:
    """A limit by the host's clock."""
    return TokenBucket(bytes_per_interval, interval_us, time.monotonic)
