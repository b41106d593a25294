"""The sockets that an NBD server listens on."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from xenolith.storage.errors import ImageError

_BACKLOG = 16


@contextmanager
def listening_unix(path: str) -> Iterator[socket.socket]:
    """Listen at a path, for this user only, and remove it in the end.

    What a killed server left there is replaced; ImageError where something else is.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        _remove_stale(path)
        before = os.umask(0o177)
        try:
            listener.bind(path)
        except OSError as error:
            raise ImageError(
                f"no socket can be made at {path}: {error.strerror or error}"
            ) from error
        finally:
            os.umask(before)
        try:
            listener.listen(_BACKLOG)
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


@contextmanager
def listening_tcp(address: str, port: int) -> Iterator[socket.socket]:
    """Listen on a port of one of this machine's addresses; ImageError. Port 0 is any free one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ImageError(f"port {port} of {address} cannot be used: {error.strerror}") from error
    with listener:
        yield listener


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise ImageError(f"{path} is in the way: it is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(path) == 0:
            raise ImageError(f"a server listens at {path} already")
    os.unlink(path)
