"""The way of a domain's xenstore messages between its ring and the daemon, over daemons' deaths.

Requests are remembered until they are answered. When a new daemon comes, those that the old one
left unanswered are sent again, so the guest waits a little and notices nothing. A guest that wants
its connection reset, or that breaks it, is reset in the store as well (docs/misc/xenstore-ring.txt).
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from xenolith.abi.xs_wire import MessageType, RingError
from xenolith.machine.event_loop import EventLoop
from xenolith.xenstore.daemon_link import DaemonLink
from xenolith.xenstore.protocol import Message, MessageParser, ProtocolError, encode

WINDOW = 8192
"""Bytes of requests whose answers the guest has not taken yet: at least one of the largest."""

_BACKLOG = 64
"""Messages that may wait for the guest before no more are read from the daemon."""

_RESET = Message(MessageType.RESET_WATCHES, 0, 0, b"\0")
"""Ends the watches and transactions of whoever sends it."""


class _Delivery(NamedTuple):
    """A message on its way to the guest."""

    data: bytes
    settles: int
    """Bytes of the request that it answers."""


class ByteRing(Protocol):
    """The hypervisor's end of a ring page's two byte streams; used in the hypervisor thread."""

    @property
    def reset_wanted(self) -> bool:
        """Whether the guest waits for :meth:`reset`."""

    @property
    def stopped(self) -> bool:
        """Whether the guest has broken the ring, so that nothing passes until a reset."""

    def read(self, limit: int) -> bytes:
        """Take at most ``limit`` bytes that the guest wrote; b"" where there are none."""

    def write(self, data: bytes) -> int:
        """Give the guest as much of ``data`` as it has room for; return how many bytes."""

    def stop(self, error: RingError) -> None:
        """Let nothing pass any more, and tell the guest why."""

    def reset(self) -> None:
        """Empty both streams and let the guest go on."""


class XenstoreRelay:
    """Carries one domain's messages. Its methods run in the I/O thread, except where they say so.

    ``post_to_guest`` runs a call in the hypervisor thread.
    """

    def __init__(
        self,
        loop: EventLoop,
        ring: ByteRing,
        post_to_guest: Callable[[Callable[[], None]], None],
    ) -> None:
        self._loop = loop
        self._ring = ring
        self._post_to_guest = post_to_guest
        self._daemon = DaemonLink(loop, self._receive)
        self._broken = False
        self._requests = MessageParser()
        self._unanswered: deque[Message] = deque()
        # The reset whose answer ends the guest's last session in the store, of which it shall
        # hear no more.
        self._last_rites: Message | None = None
        self._guest_waits = False
        # What the guest watches, by path and token, for a store that has forgotten it; and the
        # requests that we make of it ourselves.
        self._watches: dict[tuple[bytes, ...], Message] = {}
        self._own: list[Message] = []
        self._full = False
        # Filled by the I/O thread, emptied by the hypervisor thread.
        self._for_guest: deque[_Delivery] = deque()
        # The hypervisor thread's alone.
        self._in_flight = 0
        self._resetting = False
        self._given_up = False

    def connect(self, sock: socket.socket) -> None:
        """Go on over a new socket to a xenstore daemon, in place of any other; owns it."""
        self._daemon.connect(sock, (encode(*request) for request in self._unanswered))

    def restore_watches(self) -> None:
        """Set the guest's watches again, in a store that has lost them; each triggers once."""
        for watch in self._watches.values():
            own = watch._replace(request_id=0)
            self._own.append(own)
            self._ask(own)

    def on_activity(self) -> None:
        """The guest touched its ring. Called in the hypervisor thread."""
        if self._resetting:
            return
        if self._ring.reset_wanted:
            self._resetting = True
            self._loop.post(self._reset)
        elif not self._given_up:
            self._give()
            self._take()
            if self._ring.stopped:
                self._given_up = True
                self._loop.post(self._end_session)

    def _take(self) -> None:
        """Take what the guest asks, as far as it may ask more. Hypervisor thread."""
        room = WINDOW - self._in_flight
        if room > 0 and (data := self._ring.read(room)):
            self._in_flight += len(data)
            self._loop.post(lambda: self._accept(data))

    def _give(self) -> None:
        """Hand the guest what has come for it, as far as it has room. Hypervisor thread."""
        while self._for_guest:
            data, settles = self._for_guest[0]
            taken = self._ring.write(data)
            if taken < len(data):
                self._for_guest[0] = _Delivery(data[taken:], settles)
                return
            self._for_guest.popleft()
            self._in_flight -= settles
        if self._full:
            self._loop.post(self._read_again)

    def _accept(self, data: bytes) -> None:
        """Send on what the guest has asked."""
        if self._broken:
            return
        try:
            for message in self._requests.feed(data):
                self._ask(message)
        except ProtocolError:
            # As xenstored: a ring whose framing is lost is served no more.
            self._broken = True
            self._end_session()
            self._post_to_guest(self._give_up)

    def _ask(self, request: Message) -> None:
        self._unanswered.append(request)
        self._daemon.send(encode(*request))

    def _give_up(self) -> None:
        """The guest's requests make no sense. Hypervisor thread."""
        self._given_up = True
        self._ring.stop(RingError.PROTO)

    def _end_session(self) -> None:
        """Have the store forget the guest's watches and transactions, and the guest all answers."""
        self._last_rites = Message(*_RESET)
        self._ask(self._last_rites)
        # The answer must be read however much the guest has left in its ring.
        self._read_again()

    def _reset(self) -> None:
        """The guest wants to begin anew, and waits until the store knows."""
        self._requests = MessageParser()
        self._broken = False
        self._guest_waits = True
        self._end_session()

    def _begin_session(self) -> None:
        """The store knows of nothing that the guest asked. Hypervisor thread."""
        self._for_guest.clear()
        self._in_flight = 0
        self._resetting = self._given_up = False
        self._ring.reset()

    def _receive(self, messages: list[Message]) -> None:
        for message in messages:
            self._deliver(message)
        if self._last_rites is None and len(self._for_guest) > _BACKLOG:
            self._full = True
            self._daemon.pause()
        self._post_to_guest(self.on_activity)

    def _deliver(self, message: Message) -> None:
        """Take an answer or an event of the store's."""
        request = None if message.type == MessageType.WATCH_EVENT else self._answered(message)
        if request is not None and any(request is own for own in self._own):
            self._own = [own for own in self._own if own is not request]
        elif self._last_rites is None:
            settles = 0 if request is None else len(encode(*request))
            self._for_guest.append(_Delivery(encode(*message), settles))
        elif request is self._last_rites:
            self._last_rites = None
            if self._guest_waits:
                self._guest_waits = False
                self._post_to_guest(self._begin_session)

    def _answered(self, answer: Message) -> Message | None:
        """Forget the request that this answers, and return it."""
        wanted = (answer.request_id, answer.transaction_id)
        for at, request in enumerate(self._unanswered):
            if (request.request_id, request.transaction_id) == wanted:
                del self._unanswered[at]
                if answer.type == request.type:
                    self._note_watch(request)
                return request
        return None

    def _note_watch(self, request: Message) -> None:
        """Keep in mind what the guest watches, as a request that has been granted changes it."""
        what = tuple(request.payload.split(b"\0")[:2])
        if request.type == MessageType.WATCH:
            self._watches[what] = request
        elif request.type == MessageType.UNWATCH:
            self._watches.pop(what, None)
        elif request.type == MessageType.RESET_WATCHES:
            self._watches.clear()

    def _read_again(self) -> None:
        """The guest has taken all there was."""
        self._full = False
        self._daemon.resume()
