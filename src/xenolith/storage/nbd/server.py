"""An NBD server: exports one image on a listening socket to any number of clients.

Follows doc/proto.md of the NBD project. NBD knows no passwords: whoever can connect can read and,
unless the image is read-only, write.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import threading

from xenolith.storage.image import SECTOR_SIZE, Image
from xenolith.storage.nbd import stream
from xenolith.storage.nbd.commands import Commands, transmission_flags
from xenolith.storage.nbd.constants import MAX_PAYLOAD
from xenolith.storage.nbd.options import BlockSizes, ExportInfo
from xenolith.storage.nbd.protocol import ProtocolError
from xenolith.storage.nbd.server_connection import ServerConnection
from xenolith.storage.nbd.server_handshake import Export, handshake

MAX_CLIENTS = 32
HANDSHAKE_TIMEOUT = 30.0
"""Seconds that a client may be silent before it has chosen its export."""

_SIZES = BlockSizes(SECTOR_SIZE, 64 << 10, MAX_PAYLOAD)


class Server:
    """Serves an image, which stays open, under a name and as the default export."""

    def __init__(self, image: Image, name: str = "", description: str = "") -> None:
        self._image = image
        info = ExportInfo(image.size, transmission_flags(image))
        self._export = Export(name, description, info, _SIZES)
        self._lock = threading.Lock()
        self._clients: dict[threading.Thread, _Client] = {}
        self._closed = False

    def serve(self, listener: socket.socket) -> None:
        """Accept clients until :meth:`close`, or until an exception (a signal's) ends it."""
        while not self._closed:
            try:
                sock, _ = listener.accept()
            except OSError as error:
                if self._closed:
                    return
                if error.errno in (errno.ECONNABORTED, errno.EPROTO):
                    continue
                raise
            self._admit(sock)

    def close(self) -> None:
        """Send all clients away once their requests under way are done; harmless when repeated."""
        with self._lock:
            self._closed = True
            clients = dict(self._clients)
        for client in clients.values():
            client.end()
        for thread in clients:
            thread.join()

    def _admit(self, sock: socket.socket) -> None:
        client = _Client(sock, self._image, self._export)
        thread = threading.Thread(target=self._run, args=(client,), name="nbd", daemon=True)
        with self._lock:
            if self._closed or len(self._clients) >= MAX_CLIENTS:
                sock.close()
                return
            self._clients[thread] = client
        thread.start()

    def _run(self, client: _Client) -> None:
        try:
            client.serve()
        finally:
            with self._lock:
                del self._clients[threading.current_thread()]


class _Client:
    """A connection from its first byte to its last."""

    def __init__(self, sock: socket.socket, image: Image, export: Export) -> None:
        self._socket = sock
        self._image = image
        self._export = export
        self._connection: ServerConnection | None = None

    def serve(self) -> None:
        with self._socket:
            try:
                stream.prepare(self._socket)
                self._socket.settimeout(HANDSHAKE_TIMEOUT)
                session = stream.converse(handshake(self._export), self._socket)
                self._socket.settimeout(None)
            except (OSError, ProtocolError):
                return
            if session is not None:
                commands = Commands(self._image, self._export.info.size, session)
                self._connection = ServerConnection(self._socket, commands)
                self._connection.serve()

    def end(self) -> None:
        if self._connection is not None:
            self._connection.end()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
