"""One ring of a disk: takes requests, has them carried out, and answers them.

The rules are those of Linux's blkback, where public/io/blkif.h leaves them open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xenolith.abi.blkif import BlkifAbi, BlkifOp, BlkifRsp
from xenolith.backends.block.depth import QueueDepth
from xenolith.backends.block.disk import Disk
from xenolith.backends.block.persistent import PersistentGrants
from xenolith.backends.block.requests import Request, RequestRing, RingError
from xenolith.backends.xenbus import Guest, XenbusError
from xenolith.hypervisor.grant_table import GrantError, GrantMapping
from xenolith.storage.errors import ImageError
from xenolith.storage.image import Image


class BlockQueue:
    """Serves one ring until :meth:`close`.

    ``writable`` and ``discard`` say what the disk allows, ``block_size`` how large its logical blocks
    are, in bytes.
    """

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
        block_size: int,
        persistent: int,
    ) -> None:
        """``refs`` are the ring's pages, ``persistent`` how many grants stay mapped.

        GrantError, XenError(EINVAL), XenbusError.
        """
        self._guest = guest
        self._disk = disk
        self._persistent = PersistentGrants(guest.grants, persistent) if persistent else None
        self._mappings: list[GrantMapping] = []
        self._broken = False
        self._looking = False
        self._depth = QueueDepth()
        self._deferred = False
        try:
            for ref in refs:
                self._mappings.append(guest.grants.map(ref, 0, readonly=False))
            self._ring = RequestRing(
                guest.grants,
                [mapping.view for mapping in self._mappings],
                abi,
                writable=writable,
                discard=discard,
                block_size=block_size,
            )
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
        if self._persistent is not None:
            self._persistent.close()
        self._unmap()

    def _unmap(self) -> None:
        for mapping in self._mappings:
            mapping.unmap()
        self._mappings.clear()

    def _notified(self) -> None:
        if self._deferred:
            return
        if self._depth.should_wait():
            self._deferred = True
            self._guest.defer(self._look_at_many)
        else:
            self._look()

    def _look_at_many(self) -> None:
        self._deferred = False
        if not self._broken:
            self._depth.came(self._ring.waiting)
        self._look()

    def _look(self) -> None:
        """Start what waits in the ring, a ring's worth at most before others have their turn."""
        if self._broken or self._looking:
            return
        self._looking = True
        self._ring.measure(self._disk.size)
        try:
            for _ in range(self._ring.slots):
                if self._disk.waiting or (request := self._ring.take()) is None:
                    break
                self._start(request)
            else:
                self._guest.post(self._look)
        except RingError as error:
            self._broken = True
            self._guest.log(f"{self._disk.name}: the ring is broken: {error}")
        finally:
            self._looking = False
        self._push()

    def _start(self, request: Request) -> None:
        status: int | None = request.status
        try:
            if request.why is not None:
                raise request.why
            if status == BlkifRsp.OKAY:
                if self._persistent is not None:
                    self._persistent.keep(self._ring.refs)
                status = self._carry_out(request)
                if status is None:
                    self._put_off(request)
        except GrantError as error:
            self._disk.failed("request", error)
            status = BlkifRsp.ERROR
        if status is not None:
            self._ring.respond(request, status)

    def _carry_out(self, request: Request) -> int | None:
        """Carry a request out before the guest runs again; None if a worker is to do it."""
        disk = self._disk
        reads = request.operation == BlkifOp.READ
        if not reads and not (request.operation == BlkifOp.WRITE and disk.writes_at_once):
            return None
        transfer = disk.read_now if reads else disk.write_now
        status: int | None = BlkifRsp.OKAY
        try:
            if not transfer(self._ring.buffers, request.offset):
                return None
        except (OSError, ImageError) as error:
            disk.failed(str(request), error)
            status = BlkifRsp.ERROR
        if reads:
            self._ring.written()
        return status

    def _put_off(self, request: Request) -> None:
        """Have a worker carry a request out; GrantError."""
        match request.operation:
            case BlkifOp.READ:
                self._transfer(request, _read)
            case BlkifOp.WRITE:
                self._transfer(request, _write)
            case BlkifOp.FLUSH_DISKCACHE:
                self._transfer(request, _flush)
            case BlkifOp.WRITE_BARRIER:
                self._transfer(request, _barrier)
            case _:
                self._disk.start(
                    str(request),
                    lambda image: image.discard(request.offset, request.length),
                    lambda status: self._finish(request, status),
                )

    def _transfer(
        self,
        request: Request,
        work: Callable[[Image, Sequence[memoryview], int], None],
    ) -> None:
        """Have a worker do something with the request's frames."""
        pinned = self._ring.pin(readonly=request.operation != BlkifOp.READ)

        def finish(status: BlkifRsp) -> None:
            self._ring.unpin(pinned)
            self._finish(request, status)

        def start() -> None:
            self._disk.start(
                str(request), lambda image: work(image, pinned.buffers, request.offset), finish
            )

        if request.operation == BlkifOp.WRITE_BARRIER:
            self._disk.start_alone(start)
        else:
            start()

    def _finish(self, request: Request, status: BlkifRsp) -> None:
        """A worker is done with a request."""
        self._ring.respond(request, status)
        self._push()

    def _push(self) -> None:
        if self._ring.push():
            self._port.notify()


def _read(image: Image, buffers: Sequence[memoryview], offset: int) -> None:
    image.readv(buffers, offset)


def _write(image: Image, buffers: Sequence[memoryview], offset: int) -> None:
    image.writev(buffers, offset)


def _flush(image: Image, buffers: Sequence[memoryview], offset: int) -> None:
    """What was written before, then what comes with the request."""
    if not image.read_only:
        image.flush()
    if buffers:
        image.writev(buffers, offset)


def _barrier(image: Image, buffers: Sequence[memoryview], offset: int) -> None:
    _flush(image, buffers, offset)
    if buffers:
        image.flush()
