"""Coalescing a disk's files while its guest runs: in the domain's process, in a thread of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from threading import Thread

from xenolith.backends.block import BlockBackend
from xenolith.backends.xenbus import DeviceBackend
from xenolith.storage import changes
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.live import LiveImage
from xenolith.toolstack import rpc
from xenolith.toolstack.progress_stream import ProgressSender
from xenolith.toolstack.rpc import Body

Ended = Callable[[str | None], None]
"""Takes the sentence that says why something failed; None if it did not."""


def start(backend: DeviceBackend, settings: Body, fds: Sequence[int], ended: Ended) -> None:
    """Move what the file number ``link`` of a disk has into its parent (storage/changes.py).

    The descriptors are a socket for the progress and then, called ``names``, the files from the
    leaf to the parent, open for writing. ``ended`` is called in the thread, before the socket tells
    the same.
    """
    sock, *files = fds
    work = (backend, settings, files, ProgressSender(socket.socket(fileno=sock)), ended)
    Thread(target=_coalesce, args=work, name="coalesce").start()


def _coalesce(
    backend: DeviceBackend,
    settings: Body,
    fds: Sequence[int],
    progress: ProgressSender,
    ended: Ended,
) -> None:
    failure: str | None = None
    try:
        image = backend.image if isinstance(backend, BlockBackend) else None
        if not isinstance(image, LiveImage):
            raise ImageError(f"{settings['names'][0]} is not in use here")
        files = [ImageFile(fd, name) for fd, name in zip(fds, settings["names"], strict=True)]
        changes.coalesce(image, settings["link"], files, progress)
    except (ImageError, OSError) as error:
        rpc.close_all(fds)
        failure = str(error)
    ended(failure)
    progress.end(failure)
