"""Coalescing the disks of running domains: a file of a chain goes into its parent, and is done without.

The domain's process does the work and tells the client itself how far it has come, so it matters
to neither whether there is a daemon meanwhile.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from xenolith.storage.errors import ImageError
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_file
from xenolith.toolstack import rpc
from xenolith.toolstack.daemon import devices, disk_chain
from xenolith.toolstack.daemon.disk_chain import Link
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.devices.disk import KIND

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon


def coalesce(daemon: Daemon, domain: Domain, vdev: str, path: str | None) -> int:
    """Begin to move a file of a disk, by default its own, into its parent; DaemonError.

    Return a socket that tells the progress (toolstack/progress_stream.py). It is at its end when
    the domain's record is up to date as well.
    """
    devid, links = disk_chain.in_use(daemon, domain, vdev)
    link = 0 if path is None else _position(links, path)
    if link + 1 == len(links):
        raise DaemonError(f"{links[link].path} has no parent")
    connection = devices.connection(domain)
    files = links[: link + 2]
    fds = _open_all(files)
    ours, theirs = socket.socketpair()
    held = os.dup(theirs.fileno())

    def answered(result: Any, _fds: list[int]) -> None:
        if not isinstance(result, Exception) and not domain.process_ended:
            with suppress(DaemonError):
                disk_chain.in_use(daemon, domain, vdev)
        os.close(held)

    settings = {"link": link, "names": [file.path for file in files]}
    params = {"kind": KIND, "devid": devid, "settings": settings}
    connection.call("coalesce_disk", params, answered, [theirs.detach(), *fds])
    return ours.detach()


def _position(links: Sequence[Link], path: str) -> int:
    for number, link in enumerate(links):
        with suppress(OSError):
            if os.path.samefile(link.path, path):
                return number
    files = ", ".join(link.path for link in links)
    raise DaemonError(f"{path} is not one of the disk's files: {files}")


def _open_all(files: Sequence[Link]) -> list[int]:
    fds: list[int] = []
    try:
        for file in files:
            fds.append(open_file(file.path, Access.WRITE).fd)
    except ImageError as error:
        rpc.close_all(fds)
        raise DaemonError(str(error)) from None
    return fds
