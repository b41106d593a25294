"""Snapshots of disks that running domains use: the past of a disk gets a file of its own.

The domain goes on writing to a file of the name that its configuration has. Requests under way are
completed and flushed first, so the past is as sound as a disk after a power failure.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

from xenolith.storage import lock
from xenolith.storage.file import ImageFile
from xenolith.storage.lock import Access
from xenolith.toolstack.daemon import devices, disk_chain
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.devices.disk import KIND
from xenolith.toolstack.devices.new_device import NewDevice

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon


def snapshot(daemon: Daemon, domain: Domain, vdev: str, kept: str, then: devices.Then) -> None:
    """Keep a VHD that a domain writes to as it is now, under another name, an absolute path."""
    devid, links = disk_chain.in_use(daemon, domain, vdev)
    # The process may not look where symbolic links lead.
    directory, name = os.path.split(kept)
    kept = os.path.join(os.path.realpath(directory), name)
    if os.path.lexists(kept):
        raise DaemonError(f"{kept} exists already")
    _Snapshot(daemon, domain, devid, links[0].path, kept, then).start()


class _Snapshot:
    """One on its way, see storage/live_snapshot.py: prepared, renamed, switched to."""

    def __init__(
        self, daemon: Daemon, domain: Domain, devid: int, path: str, kept: str, then: devices.Then
    ) -> None:
        self._daemon = daemon
        self._domain = domain
        self._devid = devid
        self._path = path
        self._kept = kept
        self._then = then
        directory, name = os.path.split(path)
        self._temporary = os.path.join(directory, f".{name}.{secrets.token_hex(4)}")
        self._fd = -1

    def start(self) -> None:
        """Make the new leaf; DaemonError where there is no room for one."""
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(self._temporary, flags, 0o666)
            lock.acquire(ImageFile(self._fd, self._temporary), Access.WRITE)
        except OSError as error:
            raise DaemonError(f"{self._temporary} cannot be created: {error.strerror}") from None
        self._ask("prepare-snapshot", self._prepared)

    def _prepared(self, error: DaemonError | None) -> None:
        if error is None:
            error = self._rename()
        if error is None:
            self._ask("switch-to-snapshot", self._switched)
        else:
            self._end(error)

    def _rename(self) -> DaemonError | None:
        try:
            os.link(self._path, self._kept)
        except OSError as error:
            return DaemonError(
                f"{self._path} cannot be kept as {self._kept}: {error.strerror}"
                " (it must be a new name on the same file system)"
            )
        os.rename(self._temporary, self._path)
        return None

    def _switched(self, error: DaemonError | None) -> None:
        gone = self._domain.connection is None or self._domain.process_ended
        if error is not None and not gone:
            # It still writes to the old leaf, which gets its name back.
            os.rename(self._kept, self._path)
        self._end(error)

    def _end(self, error: DaemonError | None) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)
        os.close(self._fd)
        self._then(error)

    def _ask(self, action: str, then: devices.Then) -> None:
        settings = {"action": action, "name": self._path, "kept": self._kept}
        device = NewDevice(
            kind=KIND,
            devid=self._devid,
            frontend={},
            backend={},
            settings=settings,
            fds=[os.dup(self._fd)],
        )
        try:
            devices.change(self._daemon, self._domain, device, then)
        except DaemonError as error:
            then(error)
