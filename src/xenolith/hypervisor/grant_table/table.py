"""The grant table of one domain: its frames, its version, and the grants that are in use.

Behaves as Xen's common/grant_table.c does for a translated domain; the using domain is the domain
itself or domain 0, whose backends live in this process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.grant_table import (
    GNTTAB_NR_RESERVED_ENTRIES,
    GRANT_ENTRY_V1,
    GRANT_ENTRY_V2,
    GrantEntryV1,
    GrantStatus,
    GTF_permit_access,
    GTF_reading,
    GTF_readonly,
    GTF_sub_page,
)
from xenolith.abi.memory import XENMAPIDX_grant_table_status
from xenolith.hypervisor.grant_table.active import COPY_FLAGS, MAPPING_FLAGS, ActiveEntry
from xenolith.hypervisor.grant_table.backend_grants import BackendGrants
from xenolith.hypervisor.grant_table.entries import ACCESS, Entries, EntriesV1, EntriesV2
from xenolith.hypervisor.grant_table.errors import GrantError
from xenolith.hypervisor.grant_table.mapping import GrantMapping
from xenolith.hypervisor.grant_table.maptrack import Maptrack
from xenolith.hypervisor.grant_table.memory import GrantMemory
from xenolith.machine.address import PAGE_SIZE, Gfn, Mfn

_GRANT_FRAMES_PER_STATUS_FRAME = GRANT_ENTRY_V2.size // 2


class GrantTable:
    """Grants of domain ``domid``, in at most ``max_frames`` frames (xl.cfg's max_grant_frames)."""

    def __init__(
        self, domid: int, memory: GrantMemory, max_frames: int = 64, max_version: int = 2
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
        self.backends = BackendGrants(domid, memory)
        """What backends grant to the domain."""
        self.maptrack = Maptrack()
        """The mappings that the domain itself has made."""
        self._active: dict[int, ActiveEntry] = {}
        self._pinned: Counter[Mfn] = Counter()
        """How many active entries there are of each frame."""
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
        active = self._active.get(ref)
        if active is not None:
            active = self.pin(ref, domid, readonly, COPY_FLAGS)
            self.unpin(active, readonly)
        elif ref < self._entries.count:
            active = self._activate(ref, domid, readonly, COPY_FLAGS)
        else:
            raise GrantError(GrantStatus.bad_gntref, f"there is no reference {ref}")
        if offset + size > PAGE_SIZE:
            raise GrantError(GrantStatus.bad_copy_arg, "the copy crosses a page boundary")
        if offset < active.start or offset + size > active.start + active.length:
            raise GrantError(GrantStatus.general_error, "the copy is not within the grant")
        if not readonly:
            self.memory.written(active.gfn)
        return self.memory.frame(active.mfn)[offset : offset + size]

    def borrow(self, refs: Sequence[int], domid: int, readonly: bool) -> list[tuple[Gfn, Mfn]]:
        """The frames of many grants for a backend to use now, as :meth:`copy_window`; GrantError.

        Whoever writes them tells ``memory.written``.
        """
        entries, active, mfn_of = self._entries, self._active, self.memory.mfn_of
        if refs and max(refs) >= entries.count:
            raise GrantError(GrantStatus.bad_gntref, f"there is no reference {max(refs)}")
        checked = MAPPING_FLAGS if readonly else MAPPING_FLAGS | GTF_readonly
        frames: list[tuple[Gfn, Mfn]] = []
        for ref, gfn in zip(refs, entries.plain_frames(refs, domid, checked), strict=True):
            mfn = None if gfn is None or ref in active else mfn_of(Gfn(gfn))
            if gfn is None or mfn is None:
                # It is pinned, or the right error is to be found.
                entry = self.pin(ref, domid, readonly, MAPPING_FLAGS)
                self.unpin(entry, readonly)
                frames.append((entry.gfn, entry.mfn))
            else:
                frames.append((Gfn(gfn), mfn))
        return frames

    def pin(self, ref: int, domid: int, readonly: bool, checked_flags: int) -> ActiveEntry:
        """Validate a grant's entry and count a user of it, to be undone by :meth:`unpin`.

        ``checked_flags`` is MAPPING_FLAGS or COPY_FLAGS. GrantError with Xen's status.
        """
        entries = self._entries
        if ref >= entries.count:
            raise GrantError(GrantStatus.bad_gntref, f"there is no reference {ref}")
        active = self._active.get(ref)
        if active is None:
            active = self._activate(ref, domid, readonly, checked_flags)
        elif active.domid != domid or (checked_flags & GTF_sub_page and active.is_sub_page):
            raise GrantError(GrantStatus.general_error, f"reference {ref} is in use otherwise")
        elif not readonly and not active.writers and entries.read(ref).flags & GTF_readonly:
            raise GrantError(GrantStatus.general_error, f"reference {ref} is read-only")
        active.pin(readonly)
        if ref not in self._active:
            self._active[ref] = active
            self._pinned[active.mfn] += 1
        entries.set_access(ref, GTF_reading if readonly else ACCESS)
        return active

    def _activate(self, ref: int, domid: int, readonly: bool, checked_flags: int) -> ActiveEntry:
        """Copy an entry that nobody uses, and check it."""
        entry = self._entries.read(ref)
        if entry.flags & checked_flags != GTF_permit_access or entry.domid != domid:
            why = f"reference {ref} (flags {entry.flags:#x}) is for domain {entry.domid}"
            raise GrantError(GrantStatus.general_error, why)
        if not readonly and entry.flags & GTF_readonly:
            raise GrantError(GrantStatus.general_error, f"reference {ref} is read-only")
        mfn = self.memory.mfn_of(Gfn(entry.frame))
        if mfn is None:
            raise GrantError(GrantStatus.bad_page, f"reference {ref}: no frame {entry.frame:#x}")
        return ActiveEntry(ref, entry, mfn)

    def unpin(self, active: ActiveEntry, readonly: bool) -> None:
        """Undo one :meth:`pin`, and tell the guest when the last is gone."""
        if not readonly:
            self.memory.written(active.gfn)
        cleared = active.unpin(readonly)
        if cleared:
            self._entries.clear_access(active.ref, cleared)
            if cleared == ACCESS:
                del self._active[active.ref]
                self._release(active.mfn)

    def _release(self, mfn: Mfn) -> None:
        self._pinned[mfn] -= 1
        if not self._pinned[mfn]:
            del self._pinned[mfn]

    def is_pinned(self, mfn: Mfn) -> bool:
        """Whether a grant of this frame is in use, so that it must not become another's."""
        return mfn in self._pinned

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
        if any(ref >= GNTTAB_NR_RESERVED_ENTRIES for ref in self._active):
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
            if ref in self._active:
                raise GrantError(GrantStatus.eagain, f"reference {ref} is in use")
        self._entries.swap(ref_a, ref_b)

    def _view(self) -> Entries:
        shared = [self.memory.frame(mfn) for mfn in self.shared]
        if self.version == 1:
            return EntriesV1(shared)
        return EntriesV2(shared, [self.memory.frame(mfn) for mfn in self.status])

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
