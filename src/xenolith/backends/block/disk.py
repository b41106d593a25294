"""A disk as its queues use it: an image, what is under way on it, and what is done when that fails.

Everything but the jobs themselves runs in the hypervisor thread.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence

from xenolith.abi.blkif import BlkifRsp
from xenolith.backends.block.workers import Job, Workers
from xenolith.backends.xenbus import Guest
from xenolith.storage.errors import ImageError
from xenolith.storage.image import Image

_WORKERS = 4
"""Requests of one disk that the host works on at once."""

_SLOW_WRITE_S = 0.02
"""A write of 1 MiB into the page cache takes 0.3 ms; one that takes longer than this has waited."""

_BUSY_S = 1.0

_HOST_IS_FULL = (errno.ENOSPC, errno.EDQUOT)

Work = Callable[[Image], None]
"""What a worker does; OSError, ImageError."""
Finish = Callable[[BlkifRsp], None]
"""Answers the request, in the hypervisor thread."""


class Disk:
    """The image of a drive (None: it is empty). ``name`` is what logs call it.

    ``local`` says that writes go into the page cache of this host.
    """

    def __init__(self, guest: Guest, name: str, image: Image | None, *, local: bool) -> None:
        self.name = name
        self._guest = guest
        self._image = image
        self._workers = Workers(f"disk-{name}", guest.post, _WORKERS)
        self._under_way = 0
        self._local = local
        self._busy_until = 0.0
        self._patient = True
        """Whether to hold the domain, rather than fail, where the host has no room."""
        self._when_idle: list[Callable[[], None]] = []
        self._held: list[tuple[str, Work, Finish]] = []
        self._on_ready: list[Callable[[], None]] = []
        self.size = 0
        """Bytes, as of the last :meth:`measure`."""
        self.measure()

    @property
    def image(self) -> Image | None:
        """What is in the drive."""
        return self._image

    @property
    def waiting(self) -> bool:
        """Whether somebody waits for the disk to be idle, so that nothing new may begin."""
        return bool(self._when_idle)

    def measure(self) -> None:
        """See how long the image is now."""
        self.size = 0 if self._image is None else self._image.size

    def read_now(self, views: Sequence[memoryview], offset: int) -> bool:
        """Read if nothing has to be waited for; False if a worker is to do it. OSError, ImageError."""
        assert self._image is not None
        return self._image.readv_nowait(views, offset)

    @property
    def writes_at_once(self) -> bool:
        """Whether :meth:`write_now` is worth an attempt: nothing speaks for the host being busy."""
        return self._local and not self._under_way and time.monotonic() >= self._busy_until

    def write_now(self, views: Sequence[memoryview], offset: int) -> bool:
        """Write into the host's page cache; False if a worker is to do it. OSError, ImageError.

        Linux cannot say beforehand whether it would wait, as it does when too much is to be written
        back. A write that has waited has the next ones done by workers for a while.
        """
        assert self._image is not None
        began = time.monotonic()
        try:
            self._image.writev(views, offset)
        except OSError as error:
            if error.errno in _HOST_IS_FULL:
                return False
            raise
        ended = time.monotonic()
        if ended - began > _SLOW_WRITE_S:
            self._busy_until = ended + _BUSY_S
        return True

    def start(self, what: str, work: Work, finish: Finish) -> None:
        """Have a worker do something to the image; ``what`` names it in logs.

        Where the host has no room for it the domain is held, and it is done again when the domain
        runs again.
        """
        if self._image is None:
            finish(BlkifRsp.ERROR)
            return
        self._under_way += 1
        self._workers.submit(self._job(what, work, finish))

    def start_alone(self, start: Callable[[], None]) -> None:
        """Call :meth:`start` when nothing is under way, and let nothing else begin before it ends."""
        self.when_idle(start)
        self.when_idle(lambda: None)

    def failed(self, what: str, error: Exception) -> None:
        """Say in the log that something could not be done."""
        self._guest.log(f"{self.name}: {what}: {_sentence(error)}")

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call back once nothing is under way; nothing new may be started before."""
        self._when_idle.append(call)
        self._check_idle()

    def on_ready(self, call: Callable[[], None]) -> None:
        """Call back whenever new requests may be started again after the disk was idle."""
        self._on_ready.append(call)

    def forget_ready(self, call: Callable[[], None]) -> None:
        """Undo :meth:`on_ready`."""
        self._on_ready.remove(call)

    def resumed(self) -> None:
        """The domain runs again: do what there was no room for."""
        held, self._held = self._held, []
        for what, work, finish in held:
            self._workers.submit(self._job(what, work, finish))

    def be_patient(self) -> None:
        """A frontend is connected, which is to wait for room on the host."""
        self._patient = True

    def give_up(self) -> None:
        """Nobody waits any more for what there is no room for."""
        self._patient = False
        held, self._held = self._held, []
        for _, _, finish in held:
            self._ended(finish, BlkifRsp.ERROR)

    def replace(self, image: Image | None) -> None:
        """Have another image in the drive; the disk is idle."""
        if self._image is not None:
            self._image.close()
        self._image = image
        self.measure()

    def close(self) -> None:
        """Wait for what is under way and release the image; the disk is not used any more."""
        self._workers.close()
        if self._image is not None:
            self._image.close()

    def _job(self, what: str, work: Work, finish: Finish) -> Job:
        image = self._image
        assert image is not None

        def job() -> Callable[[], None]:
            try:
                work(image)
            except OSError as error:
                if error.errno in _HOST_IS_FULL:
                    return lambda: self._hold(what, work, finish)
                return lambda failure=error: self._failed(what, failure, finish)  # type: ignore[misc]
            except ImageError as error:
                return lambda failure=error: self._failed(what, failure, finish)  # type: ignore[misc]
            return lambda: self._ended(finish, BlkifRsp.OKAY)

        return job

    def _hold(self, what: str, work: Work, finish: Finish) -> None:
        if not self._patient:
            self._failed(what, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), finish)
            return
        if not self._held:
            self._guest.hold(
                f"{self.name}: {what}: no space is left on the host, so the domain is paused: make "
                "room, then `xl unpause` it"
            )
        self._held.append((what, work, finish))

    def _failed(self, what: str, error: Exception, finish: Finish) -> None:
        self.failed(what, error)
        self._ended(finish, BlkifRsp.ERROR)

    def _ended(self, finish: Finish, status: BlkifRsp) -> None:
        self._under_way -= 1
        finish(status)
        self._check_idle()

    def _check_idle(self) -> None:
        if self._under_way or not self._when_idle:
            return
        while self._when_idle and not self._under_way:
            self._when_idle.pop(0)()
        if not self._when_idle:
            for call in list(self._on_ready):
                call()


def _sentence(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
