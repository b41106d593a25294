"""Where an interface is plugged in: a wire, what counts and limits it, and who captures it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xenolith.backends.net.line import Line
from xenolith.backends.xenbus import Nodes
from xenolith.net.capture import Capture
from xenolith.net.errors import WireClosedError
from xenolith.net.frame import Frame
from xenolith.net.token_bucket import TokenBucket

CallAt = Callable[[float, Callable[[], None]], None]
"""Makes a call once time.monotonic() has reached so many seconds."""


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
        self, call_at: CallAt, rate: TokenBucket | None, log: Callable[[str], None]
    ) -> None:
        self.statistics = Statistics()
        self.on_frames: Callable[[], None] = lambda: None
        """Called when there may be frames to receive."""
        self.on_room: Callable[[], None] = lambda: None
        """Called when there is room to send again, after :attr:`may_send` was False."""
        self.on_network: Callable[[str | None], None] = lambda lost: None
        """Called when the network has gone, with the reason, and with None when it is back."""
        self.lost: str | None = None
        """Why there is no network, if it has gone."""
        self._call_at = call_at
        self._rate = rate
        self._log = log
        self._line: Line | None = None
        self._capture: Capture | None = None
        self._unsent: list[Frame] = []
        self._waits_for_credit = False

    @property
    def may_send(self) -> bool:
        """Whether frames may be taken from the guest now."""
        return not self._unsent and not self._waits_for_credit

    def plug(self, line: Line) -> None:
        """Connect to a network, in place of any other; owns the line."""
        self.unplug()
        self._line = line
        if self.lost is not None:
            self.lost = None
            self.on_network(None)
        line.ready = self._ready
        self._ready()

    def unplug(self) -> None:
        """Leave the network; what is sent from now on is dropped."""
        if self._line is not None:
            self._line.close()
            self._line = None
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
        self._call_at(when, self._credit_came)
        return False

    def send(self, frames: Sequence[Frame]) -> None:
        """Send frames, now or later; nothing is called from here that would look at the guest's rings."""
        counted = self.statistics
        for frame in frames:
            counted.tx_packets += 1
            counted.tx_bytes += len(frame.data)
            self._copy(frame)
        self._send(frames)

    def receive(self) -> Frame | None:
        """The next frame; None: there will be a call."""
        frame = self._line.take() if self._line is not None else None
        if frame is not None:
            self.statistics.rx_packets += 1
            self.statistics.rx_bytes += len(frame.data)
            self._copy(frame)
        return frame

    def _send(self, frames: Sequence[Frame]) -> None:
        if self._line is None:
            self.statistics.tx_dropped += len(frames)
            return
        try:
            sent = self._line.send(frames)
        except WireClosedError as error:
            self._lost(error)
        else:
            self._unsent = list(frames[sent:])

    def _ready(self) -> None:
        if self._unsent:
            self._send(self._unsent)
            if self.may_send:
                self.on_room()
        self.on_frames()
        if self._line is not None and self._line.lost is not None:
            self._lost(self._line.lost)
            # The guest may be waiting for room, and nothing will come of that.
            self.on_room()

    def _credit_came(self) -> None:
        self._waits_for_credit = False
        if self.may_send:
            self.on_room()

    def _copy(self, frame: Frame) -> None:
        if self._capture is not None and not self._capture.add(frame):
            self._capture.close()
            self._capture = None

    def _lost(self, error: WireClosedError) -> None:
        self.unplug()
        self.lost = str(error)
        self._log(f"the network is gone: {error}")
        self.on_network(self.lost)


def report_network(attachment: Attachment, write: Callable[[Nodes], None]) -> None:
    """Tell the toolstack when the network goes and comes, by the nodes that hotplug scripts write."""

    def tell(lost: str | None) -> None:
        status = "connected" if lost is None else "error"
        write({"hotplug-error": lost or "", "hotplug-status": status})

    attachment.on_network = tell
    if attachment.lost is not None:
        tell(attachment.lost)


def token_bucket(bytes_per_interval: int, interval_us: int) -> TokenBucket:
    """A limit by the host's clock."""
    return TokenBucket(bytes_per_interval, interval_us, time.monotonic)
