"""One ring of a disk: takes requests, has them carried out, and answers them.

The rules are those of Linux's blkback, where public/io/blkif.h leaves them open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xenolith.abi.blkif import BlkifAbi, BlkifOp, BlkifResponse, BlkifRsp
from xenolith.backends.block.disk import Disk
from xenolith.backends.block.frames import GuestFrames
from xenolith.backends.block.requests import SECTOR_SHIFT, Label, Refusal, Request, decode, label
from xenolith.backends.block.ring import BackRing, RingError
from xenolith.backends.xenbus import Guest, XenbusError
from xenolith.hypervisor.grant_table import GrantError, GrantMapping
from xenolith.storage.errors import ImageError
from xenolith.storage.image import Image

_CHANGES = (BlkifOp.WRITE, BlkifOp.WRITE_BARRIER, BlkifOp.DISCARD)


class BlockQueue:
    """Serves one ring until :meth:`close`; ``writable`` and ``discard`` say what the disk allows."""

    def __init__(
        self,
        guest: Guest,
        disk: Disk,
        abi: BlkifAbi,
        refs: Sequence[int],
        port: int,
        *,
        writable: bool,
        discard: bool,
        persistent: int,
    ) -> None:
        """``refs`` are the ring's pages, ``persistent`` how many grants stay mapped.

        GrantError, XenError(EINVAL), XenbusError.
        """
        self._guest = guest
        self._disk = disk
        self._abi = abi
        self._writable = writable
        self._discard = discard
        self._frames = GuestFrames(guest.grants, persistent)
        self._mappings: list[GrantMapping] = []
        self._broken = False
        self._looking = False
        try:
            for ref in refs:
                self._mappings.append(guest.grants.map(ref, 0, readonly=False))
            pages = [mapping.view for mapping in self._mappings]
            self._ring = BackRing(pages, abi.request.size)
            self._port = guest.event_channels.bind_backend(port, 0, self._notified)
        except RingError as error:
            self._unmap()
            raise XenbusError(str(error)) from error
        except BaseException:
            self._unmap()
            raise
        disk.on_ready(self._look)

    def start(self) -> None:
        """Serve what came before the event channel was bound."""
        self._look()

    def stop(self) -> None:
        """Take no more requests and send no more events; what is under way goes on."""
        self._broken = True
        self._disk.forget_ready(self._look)
        self._port.close()

    def close(self) -> None:
        """Give the guest's frames back; nothing is under way any more."""
        self._frames.close()
        self._unmap()

    def _unmap(self) -> None:
        for mapping in self._mappings:
            mapping.unmap()
        self._mappings.clear()

    def _notified(self) -> None:
        self._look()

    def _look(self) -> None:
        """Start what waits in the ring, a ring's worth at most before others have their turn."""
        if self._broken or self._looking:
            return
        self._looking = True
        try:
            for _ in range(self._ring.size):
                if self._disk.waiting or not (self._ring.available() or self._ring.await_request()):
                    break
                self._take()
            else:
                self._guest.post(self._look)
        except RingError as error:
            self._broken = True
            self._guest.log(f"{self._disk.name}: the ring is broken: {error}")
        finally:
            self._looking = False
        self._push()

    def _take(self) -> None:
        slot = self._ring.take()
        try:
            request = decode(self._abi, slot, self._frames.read)
            self._check(request)
            self._start(request)
        except Refusal as refusal:
            self._respond(label(self._abi, slot), refusal.status)
        except GrantError as error:
            self._disk.failed("request", error)
            self._respond(label(self._abi, slot), BlkifRsp.ERROR)

    def _check(self, request: Request) -> None:
        """Refuse what the disk cannot do."""
        if request.operation == BlkifOp.DISCARD and not self._discard:
            raise Refusal(BlkifRsp.EOPNOTSUPP, "discard is not offered")
        if request.operation in _CHANGES and not self._writable:
            raise Refusal(BlkifRsp.ERROR, "the disk is read-only")
        has_place = request.length or request.operation == BlkifOp.DISCARD
        if has_place and request.offset + request.length > self._disk.size:
            raise Refusal(BlkifRsp.ERROR, "beyond the end of the disk")

    def _start(self, request: Request) -> None:
        match request.operation:
            case BlkifOp.READ:
                if self._now(request, self._disk.read_now):
                    self._respond(request.label, BlkifRsp.OKAY)
                else:
                    self._transfer(request, _read)
            case BlkifOp.WRITE:
                if self._disk.writes_at_once and self._now(request, self._disk.write_now):
                    self._respond(request.label, BlkifRsp.OKAY)
                else:
                    self._transfer(request, _write)
            case BlkifOp.FLUSH_DISKCACHE:
                self._transfer(request, _flush)
            case BlkifOp.WRITE_BARRIER:
                self._transfer(request, _barrier)
            case _:
                self._disk.start(
                    _describe(request),
                    lambda image: image.discard(request.offset, request.length),
                    lambda status: self._finish(request, status),
                )

    def _now(self, request: Request, transfer: Callable[[Sequence[memoryview], int], bool]) -> bool:
        """Carry a request out before the guest runs again; False if a worker is to do it. Refusal."""
        reads = request.operation == BlkifOp.READ
        views, gfns = self._frames.borrow(request.segments, readonly=not reads)
        try:
            done = transfer(views, request.offset)
        except (OSError, ImageError) as error:
            self._disk.failed(_describe(request), error)
            raise Refusal(BlkifRsp.ERROR, str(error)) from error
        if done and reads:
            self._frames.written(gfns)
        return done

    def _transfer(
        self,
        request: Request,
        work: Callable[[Image, Sequence[memoryview], int], None],
    ) -> None:
        """Have a worker do something with the request's frames."""
        pinned = self._frames.pin(request.segments, readonly=request.operation != BlkifOp.READ)

        def finish(status: BlkifRsp) -> None:
            self._frames.unpin(pinned)
            self._finish(request, status)

        def start() -> None:
            self._disk.start(
                _describe(request), lambda image: work(image, pinned.views, request.offset), finish
            )

        if request.operation == BlkifOp.WRITE_BARRIER:
            self._disk.start_alone(start)
        else:
            start()

    def _finish(self, request: Request, status: BlkifRsp) -> None:
        """A worker is done with a request."""
        self._respond(request.label, status)
        self._push()

    def _respond(self, known_by: Label, status: BlkifRsp) -> None:
        response = self._abi.response.pack(BlkifResponse(*known_by, status))
        self._ring.respond(response)

    def _push(self) -> None:
        if self._ring.push():
            self._port.notify()


def _read(image: Image, views: Sequence[memoryview], offset: int) -> None:
    image.readv(views, offset)


def _write(image: Image, views: Sequence[memoryview], offset: int) -> None:
    image.writev(views, offset)


def _flush(image: Image, views: Sequence[memoryview], offset: int) -> None:
    """What was written before, then what comes with the request."""
    if not image.read_only:
        image.flush()
    if views:
        image.writev(views, offset)


def _barrier(image: Image, views: Sequence[memoryview], offset: int) -> None:
    _flush(image, views, offset)
    if views:
        image.flush()


def _describe(request: Request) -> str:
    name = request.operation.name.lower().replace("_", " ")
    return f"{name} of {request.length} bytes at sector {request.offset >> SECTOR_SHIFT}"
