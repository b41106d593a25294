"""One client's end of the wire, without any input or output: bytes in, bytes out.

Framing, order and error replies follow docs/misc/xenstore.txt; what each request does is in
:mod:`xenolith.xenstore.requests`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import XENSTORE_PAYLOAD_MAX, MessageType
from xenolith.xenstore.database import Database
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.protocol import (
    HEADER_SIZE,
    Message,
    MessageParser,
    ProtocolError,
    encode,
    encode_event,
    error_payload,
)
from xenolith.xenstore.quota import Quota
from xenolith.xenstore.requests import HANDLERS, PRIVILEGED, Caller
from xenolith.xenstore.session import Session

OUTPUT_MAX = 2 << 20
"""How many bytes may wait for a client that does not read; one more, and it is given up."""

_OUTSTANDING_MAX = 256
"""How many unread messages keep domain 0's clients from being served further."""

_CHUNK = 32


class Connection:
    """Serves a session over one stream of bytes.

    ``on_output()`` is called when an event is to be sent that no request of this client caused.
    """

    def __init__(self, database: Database, session: Session, on_output: Callable[[], None]) -> None:
        self.broken = False
        """The client broke the protocol or does not read: to be closed once not :attr:`busy`."""
        self._caller = Caller(database, session)
        self._on_output = on_output
        self._parser = MessageParser()
        self._requests: deque[Message] = deque()
        self._output: deque[bytes] = deque()
        self._output_size = 0
        self._events: set[bytes] = set()
        self._held: list[bytes] | None = None

    @property
    def busy(self) -> bool:
        """Whether requests wait that :meth:`serve` would handle."""
        return bool(self._requests) and len(self._output) < self._room()

    @property
    def pending(self) -> bool:
        """Whether there is output."""
        return bool(self._output)

    @property
    def hungry(self) -> bool:
        """Whether more input is welcome."""
        return not self._requests and not self.broken

    def receive(self, data: bytes) -> None:
        """Take input; what comes after a breach of the protocol is ignored."""
        try:
            self._requests.extend(self._parser.feed(data))
        except ProtocolError:
            self.broken = True

    def serve(self, budget: int) -> None:
        """Handle up to ``budget`` requests, fewer if their replies would pile up unread."""
        requests, output, room = self._requests, self._output, self._room()
        while budget and requests and len(output) < room:
            self._handle(requests.popleft())
            budget -= 1

    def output(self) -> bytes:
        """The bytes to send next."""
        if len(self._output) == 1:
            return self._output[0]
        return b"".join(islice(self._output, _CHUNK))

    def sent(self, count: int) -> None:
        """Learn that the first ``count`` bytes of :meth:`output` are sent."""
        self._output_size -= count
        while count:
            message = self._output.popleft()
            self._events.discard(message)
            if len(message) > count:
                self._output.appendleft(message[count:])
                return
            count -= len(message)

    def hear(self, path: str, token: bytes) -> None:
        """Send the client an event, after the reply to the request that is being served."""
        event = encode_event(path, token)
        if self._held is not None:
            self._held.append(event)
        else:
            self._queue_event(event)
            self._on_output()

    def _room(self) -> int:
        """How many messages may wait before the client has to take some."""
        return self._caller.domain.limits[Quota.OUTSTANDING] or _OUTSTANDING_MAX

    def _handle(self, message: Message) -> None:
        kind, request_id, transaction_id, _ = message
        self._held = []
        try:
            payload = self._answer(message)
        except XenstoreError as error:
            kind, payload = MessageType.ERROR, error_payload(error.errno)
        self._queue(encode(kind, request_id, transaction_id, payload))
        held, self._held = self._held, None
        for event in held:
            self._queue_event(event)

    def _answer(self, message: Message) -> bytes:
        handler = HANDLERS.get(message.type)
        if handler is None:
            raise XenstoreError(Errno.ENOSYS, f"message type {message.type}")
        if message.type in PRIVILEGED and not self._caller.domain.privileged:
            raise XenstoreError(Errno.EACCES, "only domain 0 may ask for that")
        payload = handler(self._caller, message)
        if len(payload) > XENSTORE_PAYLOAD_MAX:
            raise XenstoreError(Errno.E2BIG, f"a reply of {len(payload)} bytes")
        return payload

    def _queue_event(self, event: bytes) -> None:
        # One that waits already says all that a second one would: look again. Special events do
        # not repeat themselves.
        if event in self._events:
            return
        if not event.startswith(b"@", HEADER_SIZE):
            self._events.add(event)
        self._queue(event)

    def _queue(self, message: bytes) -> None:
        self._output.append(message)
        self._output_size += len(message)
        if self._output_size > OUTPUT_MAX:
            self.broken = True
            self._requests.clear()
            self._output.clear()
            self._events.clear()
            self._output_size = 0
