"""A domain as a grant table sees it, and the guest that fills in the entries.

Guest frames below RAM_FRAMES are machine frames of the same number; the frames of the table come
after them, and appear in the guest's physical address space where it puts them.
"""

from __future__ import annotations

from typing import Any, TypeVar

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.grant_table import GRANT_ENTRY_V1, GRANT_ENTRY_V2, GrantEntryV1, GrantEntryV2
from xenolith.abi.layout import Layout
from xenolith.hypervisor.grant_table import GrantTable, grant_table_op
from xenolith.hypervisor.p2m import PlainRam
from xenolith.machine.address import PAGE_SIZE, Gfn, GuestVirt, Mfn
from xenolith.machine.memory import MachineMemory

T = TypeVar("T", bound=tuple[Any, ...])

RAM_FRAMES = 32
XEN_FRAMES = 80
ARGUMENT = GuestVirt(PAGE_SIZE)
FRAME_LIST = 2 * PAGE_SIZE
DATA = 8
"""The first of the frames that tests grant."""

DOMID = 7


class Guest:
    """The domain, its grant table, and the calling vCPU's flat address space: its RAM."""

    word = 8

    def __init__(
        self, max_frames: int = 4, max_version: int = 2, xen_frames: int = XEN_FRAMES
    ) -> None:
        self.machine = MachineMemory(RAM_FRAMES + xen_frames)
        self.free = list(range(RAM_FRAMES + xen_frames - 1, RAM_FRAMES - 1, -1))
        self.physmap: dict[Gfn, Mfn] = {Gfn(gfn): Mfn(gfn) for gfn in range(RAM_FRAMES)}
        self.invalidated: set[Gfn] = set()
        self.granted: dict[Gfn, tuple[Mfn, bool]] = {}
        # Every other frame is found without our being asked.
        self.other = bytearray([gfn % 2 for gfn in range(RAM_FRAMES)])
        ram = [PlainRam(Gfn(0), Mfn(0), RAM_FRAMES, self.other)]
        self.table = GrantTable(DOMID, self, max_frames, max_version, ram)

    def allocate_frame(self) -> Mfn:
        if not self.free:
            raise XenError(Errno.ENOMEM)
        mfn = Mfn(self.free.pop())
        self.machine.discard(mfn)
        return mfn

    def free_frame(self, mfn: Mfn) -> None:
        self.physmap = {gfn: other for gfn, other in self.physmap.items() if other != mfn}
        self.free.append(mfn)

    def frame(self, mfn: Mfn) -> memoryview:
        return self.machine.frame(mfn)

    @property
    def view(self) -> memoryview:
        return self.machine.view

    def mfn_of(self, gfn: Gfn) -> Mfn | None:
        return self.physmap.get(gfn)

    def gfn_of(self, mfn: Mfn) -> Gfn | None:
        return next((gfn for gfn, other in self.physmap.items() if other == mfn), None)

    def written(self, gfn: Gfn, count: int = 1) -> None:
        for each in range(gfn, gfn + count):
            assert each in self.physmap
            self.invalidated.add(Gfn(each))

    def map_grant(self, gfn: Gfn, mfn: Mfn, readonly: bool) -> None:
        if gfn >= 1 << 28 or gfn in self.physmap or gfn in self.granted:
            raise XenError(Errno.EINVAL)
        self.granted[gfn] = (mfn, readonly)

    def unmap_grant(self, gfn: Gfn, mfn: Mfn) -> None:
        if gfn not in self.granted or self.granted[gfn][0] != mfn:
            raise XenError(Errno.EINVAL)
        del self.granted[gfn]

    def copy_from(self, address: GuestVirt, size: int) -> bytes:
        if not 0 <= address <= RAM_FRAMES * PAGE_SIZE - size:
            raise XenError(Errno.EFAULT)
        return self.machine.read(address, size)

    def copy_to(self, address: GuestVirt, data: bytes) -> None:
        if not 0 <= address <= RAM_FRAMES * PAGE_SIZE - len(data):
            raise XenError(Errno.EFAULT)
        self.machine.write(address, data)

    def hypercall(self, cmd: int, layout: Layout[T], record: T) -> T:
        """Make a call with one operation and return the answer."""
        self.copy_to(ARGUMENT, layout.pack(record))
        assert grant_table_op(self.table, self, cmd, ARGUMENT, 1) == 0
        return layout.unpack(self.copy_from(ARGUMENT, layout.size))

    def write_entry(self, ref: int, flags: int, domid: int = 0, frame: int = DATA) -> None:
        """Fill in an entry of the version in force, as the guest does."""
        if self.table.version == 1:
            GRANT_ENTRY_V1.pack_into(
                self.frame(self.table.shared[ref // 512]),
                ref % 512 * 8,
                GrantEntryV1(flags, domid, frame & 0xFFFFFFFF),
            )
        else:
            self.write_entry_v2(ref, GrantEntryV2(flags, domid, 0, 0, frame))

    def write_entry_v2(self, ref: int, entry: GrantEntryV2) -> None:
        view = self.frame(self.table.shared[ref // 256])
        GRANT_ENTRY_V2.pack_into(view, ref % 256 * 16, entry)

    def flags(self, ref: int) -> int:
        """The flags in the entry itself."""
        view, per_frame = self.table.shared, 512 if self.table.version == 1 else 256
        size = PAGE_SIZE // per_frame
        offset = ref % per_frame * size
        return int.from_bytes(self.frame(view[ref // per_frame])[offset : offset + 2], "little")

    def access(self, ref: int) -> int:
        """The reading and writing bits, wherever the version has them."""
        if self.table.version == 1:
            return self.flags(ref) & 0x18
        offset = ref % 2048 * 2
        word = self.frame(self.table.status[ref // 2048])[offset : offset + 2]
        return int.from_bytes(word, "little")
