"""xenstored's sockets: one that programs of domain 0 connect to, and one stream per domain.

The protocol on both is that of docs/misc/xenstore.txt; whoever can open the socket is domain 0.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat

from xenolith.machine.event_loop import READ, EventLoop
from xenolith.xenstore.session import Session, backends_of
from xenolith.xenstore.store import Store
from xenolith.xenstore.stream import Stream

_log = logging.getLogger(__name__)

_ACCEPT_PAUSE = 1.0


class Server:
    """Serves a store over sockets, from the thread of an event loop."""

    def __init__(self, loop: EventLoop, store: Store) -> None:
        self._loop = loop
        self._database = store.database
        self._listeners: dict[str, socket.socket] = {}
        self._clients: set[Stream] = set()
        self._domains: dict[int, Stream] = {}
        self._backends: dict[int, Stream] = {}

    def listen(self, path: str) -> None:
        """Accept programs of domain 0 on a unix socket that only its owner can open.

        A socket that a dead server left behind is replaced; OSError (EADDRINUSE) if the server
        lives, or if the file is something else.
        """
        _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # The mode that the socket has before bind() is the file's from its first moment.
            os.fchmod(listener.fileno(), 0o600)
            listener.bind(path)
            listener.listen(128)
        except OSError:
            listener.close()
            raise
        self._listeners[path] = listener
        self._loop.watch(listener.fileno(), READ, lambda _events: self._accept(listener))

    def attach_domain(self, domid: int, sock: socket.socket) -> None:
        """Serve an introduced domain on a stream of its messages, which replaces any earlier one.

        Takes over ``sock``. Whatever arrives there is the domain's, and its relative paths start
        at /local/domain/``domid``. Its watches all trigger once. ENOENT if not introduced.
        """
        session = self._database.domains.introduced(domid).session
        earlier = self._domains.get(domid)
        if earlier is not None:
            earlier.close()
        self._domains[domid] = Stream(
            self._loop, sock, self._database, session, lambda: self._forget_domain(domid)
        )

    def attach_backends(self, domid: int, sock: socket.socket) -> None:
        """Serve the backends in a domain's process on a stream, which replaces any earlier one.

        Takes over ``sock``. They have the domain's rights and those that nodes grant to
        ``backends_domid(domid)``; watches end with the stream.
        """
        self.detach_backends(domid)
        limits = self._database.domains.defaults.copy()
        self._backends[domid] = Stream(
            self._loop,
            sock,
            self._database,
            backends_of(domid, limits).session,
            lambda: self._forget_backends(domid),
        )

    def detach_backends(self, domid: int) -> None:
        """Serve a domain's backends no more; harmless if they are not served."""
        if domid in self._backends:
            self._backends[domid].close()

    def close(self) -> None:
        """Close all sockets and remove those that listen."""
        for path, listener in self._listeners.items():
            self._loop.forget(listener.fileno())
            listener.close()
            os.unlink(path)
        self._listeners.clear()
        for stream in (*self._clients, *self._domains.values(), *self._backends.values()):
            stream.close()

    def _forget_domain(self, domid: int) -> None:
        del self._domains[domid]

    def _forget_backends(self, domid: int) -> None:
        del self._backends[domid]

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # Out of descriptors, most likely: the client stays in the queue and we would be told
            # of it without pause.
            _log.warning("xenstore: cannot accept a client: %s", error)
            self._loop.modify(listener.fileno(), 0)
            self._loop.call_later(_ACCEPT_PAUSE, lambda: self._resume(listener))
            return
        session = Session(self._database.domains.dom0)
        stream = Stream(
            self._loop, sock, self._database, session, lambda: self._clients.discard(stream)
        )
        self._clients.add(stream)

    def _resume(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            self._loop.modify(listener.fileno(), READ)


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EADDRINUSE, "exists and is not a socket", path)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            # Somebody listens and is too busy to accept.
            pass
    raise OSError(errno.EADDRINUSE, "another server listens", path)
