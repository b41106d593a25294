"""The grant table of one domain: its frames, its version, and the grants that are in use.

Behaves as Xen's common/grant_table.c does for a translated domain; the using domain is the domain
itself or domain 0, whose backends live in this process.
"""

from __future__ import annotations

from collections.abc import Sequence

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.grant_table import (
    GNTTAB_NR_RESERVED_ENTRIES,
    GRANT_ENTRY_V1,
    GRANT_ENTRY_V2,
    GrantEntryV1,
    GrantStatus,
    GTF_permit_access,
)
from xenolith.abi.memory import XENMAPIDX_grant_table_status
from xenolith.hypervisor.grant_table.active import COPY_FLAGS, MAPPING_FLAGS, ActiveEntry
from xenolith.hypervisor.grant_table.backend_grants import BackendGrants
from xenolith.hypervisor.grant_table.entries import Entries, EntriesV1, EntriesV2
from xenolith.hypervisor.grant_table.errors import GrantError
from xenolith.hypervisor.grant_table.mapping import GrantMapping
from xenolith.hypervisor.grant_table.maptrack import Maptrack
from xenolith.hypervisor.grant_table.memory import GrantMemory
from xenolith.hypervisor.grant_table.native import NativeGrants
from xenolith.hypervisor.p2m import PlainRam
from xenolith.machine.address import PAGE_SIZE, Gfn, Mfn

_GRANT_FRAMES_PER_STATUS_FRAME = GRANT_ENTRY_V2.size // 2


class GrantTable:
    """Grants of domain ``domid``, in at most ``max_frames`` frames (xl.cfg's max_grant_frames).

    ``ram`` is what needs no ``memory.mfn_of`` to be found.
    """

    def __init__(
        self,
        domid: int,
        memory: GrantMemory,
        max_frames: int = 64,
        max_version: int = 2,
        ram: Sequence[PlainRam] = (),
    ) -> None:
        self.domid = domid
        self.memory = memory
        self.max_frames = max_frames
        self.max_version = max_version
        self.version = 1
        self.shared: list[Mfn] = []
        """The frames that hold the entries."""
        self.status: list[Mfn] = []
        """The frames that hold the status words; none in version 1."""
        self.backends = BackendGrants(memory)
        """What backends grant to the domain."""
        self.maptrack = Maptrack()
        """The mappings that the domain itself has made."""
        self.native = NativeGrants(memory.view, ram, self.own_frame, max_frames)
        """Who uses which grants."""
        self._entries: Entries
        self.grow(1)

    @property
    def count(self) -> int:
        """How many entries there are: grant references are below."""
        return self._entries.count

    def grow(self, frames: int) -> None:
        """Have at least ``frames`` frames of entries; XenError(EINVAL, ENOMEM)."""
        if frames > self.max_frames:
            raise XenError(Errno.EINVAL, f"{frames} grant frames are more than {self.max_frames}")
        if frames > len(self.shared):
            shared = self._allocate(frames - len(self.shared))
            try:
                self._add_status_frames(frames)
            except XenError:
                self._free(shared)
                raise
            self.shared += shared
            self._entries = self._view()

    def physmap_frame(self, index: int) -> Mfn:
        """The frame that XENMAPSPACE_grant_table calls ``index``; XenError(EINVAL, ENOMEM).

        The table grows as needed.
        """
        if self.version == 2 and index & XENMAPIDX_grant_table_status:
            index &= ~XENMAPIDX_grant_table_status
            if index >= len(self.status):
                self.grow((index + 1) * _GRANT_FRAMES_PER_STATUS_FRAME)
            return self.status[index]
        self.grow(index + 1)
        return self.shared[index]

    def seed(self, ref: int, domid: int, gfn: Gfn) -> None:
        """Grant a frame in a reserved entry, before the domain runs."""
        entry = GrantEntryV1(GTF_permit_access, domid, gfn)
        offset = ref * GRANT_ENTRY_V1.size
        GRANT_ENTRY_V1.pack_into(self.memory.frame(self.shared[0]), offset, entry)

    def map(self, ref: int, domid: int, readonly: bool) -> GrantMapping:
        """Let a backend of domain ``domid`` use the frame of a grant; GrantError."""
        active = self.pin(ref, domid, readonly, MAPPING_FLAGS)
        return GrantMapping(self.memory.frame(active.mfn), active, readonly, self.unpin)

    def copy_window(
        self, ref: int, domid: int, readonly: bool, offset: int, size: int
    ) -> memoryview:
        """``size`` bytes of a granted frame for a backend to copy, now; GrantError.

        What GNTTABOP_copy is to a backend in domain 0. The view is used before any guest code runs
        again, so the entry need not say that it is in use; this is much cheaper than a mapping.
        """
        found = self.native.look(ref, domid, readonly, COPY_FLAGS)
        if offset + size > PAGE_SIZE:
            raise GrantError(GrantStatus.bad_copy_arg, "the copy crosses a page boundary")
        if offset < found.start or offset + size > found.start + found.length:
            raise GrantError(GrantStatus.general_error, "the copy is not within the grant")
        if not readonly:
            self.memory.written(found.gfn)
        return self.memory.frame(found.mfn)[offset : offset + size]

    def pin(self, ref: int, domid: int, readonly: bool, checked_flags: int) -> ActiveEntry:
        """Validate a grant's entry and count a user of it, to be undone by :meth:`unpin`.

        ``checked_flags`` is MAPPING_FLAGS or COPY_FLAGS. GrantError with Xen's status.
        """
        return self.native.pin(ref, domid, readonly, checked_flags)

    def unpin(self, active: ActiveEntry, readonly: bool) -> None:
        """Undo one :meth:`pin`, and tell the guest when the last is gone."""
        if not readonly:
            self.memory.written(active.gfn)
        self.native.unpin(active.ref, readonly)

    def own_frame(self, gfn: Gfn) -> Mfn | None:
        """The frame behind a guest frame number that is the guest's to grant; None if it is not."""
        mfn = self.memory.mfn_of(gfn)
        return None if mfn is None or self.backends.owns(mfn) else mfn

    def is_pinned(self, mfn: Mfn) -> bool:
        """Whether a grant of this frame is in use, so that it must not become another's."""
        return self.native.is_pinned(mfn)

    def set_version(self, version: int) -> None:
        """Change the entries' version, keeping the reserved ones and clearing all others.

        XenError(EINVAL, ENOSYS, EBUSY, ERANGE, ENOMEM).
        """
        if version not in (1, 2):
            raise XenError(Errno.EINVAL, f"there is no grant table version {version}")
        if version > self.max_version:
            raise XenError(Errno.ENOSYS, "grant table version 2 is disabled")
        if version == self.version:
            return
        if self.native.any_in_use(GNTTAB_NR_RESERVED_ENTRIES):
            raise XenError(Errno.EBUSY, "grants are in use")
        reserved = self._entries.reserved()
        if reserved is None:
            raise XenError(Errno.ERANGE, "version 1 cannot express the reserved entries")
        if version == 1:
            self._free(self.status)
            self.status = []
            self.version = version
        else:
            self.version = version
            try:
                self._add_status_frames(len(self.shared))
            except XenError:
                self.version = 1
                raise
        for mfn in self.shared:
            self.memory.frame(mfn)[:] = bytes(PAGE_SIZE)
        self._entries = self._view()
        self._entries.restore(reserved)

    def swap(self, ref_a: int, ref_b: int) -> None:
        """Exchange two entries that nobody uses; GrantError(bad_gntref, eagain)."""
        for ref in (ref_a, ref_b):
            if ref >= self.count:
                raise GrantError(GrantStatus.bad_gntref, f"there is no reference {ref}")
        if ref_a == ref_b:
            return
        for ref in (ref_a, ref_b):
            if self.native.is_in_use(ref):
                raise GrantError(GrantStatus.eagain, f"reference {ref} is in use")
        self._entries.swap(ref_a, ref_b)

    def _view(self) -> Entries:
        shared = [self.memory.frame(mfn) for mfn in self.shared]
        entries: Entries
        if self.version == 1:
            entries = EntriesV1(shared)
        else:
            entries = EntriesV2(shared, [self.memory.frame(mfn) for mfn in self.status])
        self.native.layout(self.version, self.shared, self.status, entries.count)
        return entries

    def _add_status_frames(self, frames: int) -> None:
        """In version 2, have status words for ``frames`` frames of entries."""
        if self.version == 2:
            needed = -(-frames // _GRANT_FRAMES_PER_STATUS_FRAME)
            self.status += self._allocate(needed - len(self.status))

    def _allocate(self, count: int) -> list[Mfn]:
        """Allocate all of ``count`` frames or none."""
        frames: list[Mfn] = []
        try:
            for _ in range(count):
                frames.append(self.memory.allocate_frame())
        except XenError:
            self._free(frames)
            raise
        return frames

    def _free(self, frames: list[Mfn]) -> None:
        for mfn in frames:
            self.memory.free_frame(mfn)
