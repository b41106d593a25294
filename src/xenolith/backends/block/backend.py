"""A PV disk as the bus sees it: what it offers, the queues of its frontend, and what changes under way.

The nodes are those of public/io/blkif.h.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi.blkif import VDISK_CDROM, VDISK_READONLY, VDISK_REMOVABLE
from xenolith.backends.block.disk import Disk
from xenolith.backends.block.offer import MAX_QUEUES, MAX_RING_PAGE_ORDER, read_offer
from xenolith.backends.block.queue import BlockQueue
from xenolith.backends.block.requests import MAX_INDIRECT_SEGMENTS, SECTOR_SHIFT
from xenolith.backends.xenbus import DeviceBackend, Guest, Nodes
from xenolith.storage.image import Image

_DISCARD_GRANULARITY = 4096
"""Bytes: less than a block of the host's file system cannot be given back."""

_PERSISTENT_GRANTS = 1056
"""Of each queue: what Linux's frontends keep at most (xen_blkfront's max_persistent_grants)."""


class BlockBackend(DeviceBackend):
    """Serves ``image``, which it owns; None is a drive without a medium.

    ``sector_size`` is the logical block size in bytes that the guest is told, ``name`` what logs call
    the disk. ``persistent`` offers persistent grants; ``local`` says that writes go into the page
    cache of this host.
    """

    def __init__(
        self,
        guest: Guest,
        name: str,
        image: Image | None,
        *,
        read_only: bool = False,
        cdrom: bool = False,
        discard: bool = True,
        sector_size: int = 512,
        persistent: bool = False,
        local: bool = True,
    ) -> None:
        self._guest = guest
        self._disk = Disk(guest, name, image, local=local)
        self._writable = not read_only
        self._cdrom = cdrom
        self._discard = discard and not read_only
        self._sector_size = sector_size
        self._persistent = persistent
        self._queues: list[BlockQueue] = []

    def features(self) -> Nodes:
        """See DeviceBackend."""
        nodes = {
            "max-ring-page-order": MAX_RING_PAGE_ORDER,
            "max-ring-pages": 1 << MAX_RING_PAGE_ORDER,
            "multi-queue-max-queues": MAX_QUEUES,
            "feature-max-indirect-segments": MAX_INDIRECT_SEGMENTS,
            "feature-flush-cache": 1,
            "feature-barrier": 1,
            "feature-persistent": int(self._persistent),
            "feature-discard": int(self._discard),
        }
        if self._discard:
            nodes |= {
                "discard-granularity": _DISCARD_GRANULARITY,
                "discard-alignment": 0,
                "discard-secure": 0,
            }
        return {name: str(value) for name, value in nodes.items()}

    def connect(self, frontend: Nodes) -> Nodes:
        """See DeviceBackend."""
        offer = read_offer(frontend)
        keeps = _PERSISTENT_GRANTS if self._persistent and offer.persistent else 0
        for refs, port in offer.queues:
            self._queues.append(
                BlockQueue(
                    self._guest,
                    self._disk,
                    offer.abi,
                    refs,
                    port,
                    writable=self._writable,
                    discard=self._discard,
                    block_size=self._sector_size,
                    persistent=keeps,
                )
            )
        self._disk.be_patient()
        for queue in self._queues:
            queue.start()
        info = VDISK_READONLY * (not self._writable)
        info |= (VDISK_CDROM | VDISK_REMOVABLE) * self._cdrom
        return {
            "sector-size": str(self._sector_size),
            "physical-sector-size": str(max(self._sector_size, _DISCARD_GRANULARITY)),
            "info": str(info),
            **self._size(),
        }

    def disconnect(self, then: Callable[[], None]) -> None:
        """See DeviceBackend."""
        queues, self._queues = self._queues, []
        for queue in queues:
            queue.stop()

        def idle() -> None:
            for queue in queues:
                queue.close()
            then()

        self._disk.when_idle(idle)
        self._disk.give_up()

    def resumed(self) -> None:
        """See DeviceBackend."""
        self._disk.resumed()

    def close(self) -> None:
        """See DeviceBackend."""
        self._disk.close()

    @property
    def image(self) -> Image | None:
        """What is in the drive."""
        return self._disk.image

    def measure(self) -> Nodes:
        """Look at the image's size anew; the nodes that tell the guest."""
        self._disk.measure()
        return self._size()

    def insert(self, image: Image | None, then: Callable[[Nodes], None]) -> None:
        """Replace the medium once nothing is under way; ``then`` takes the nodes that tell the guest."""

        def idle() -> None:
            self._disk.replace(image)
            then(self._size())

        self._disk.when_idle(idle)

    def _size(self) -> Nodes:
        return {"sectors": str(self._disk.size >> SECTOR_SHIFT)}
