"""Loads _grants.c, which checks grants and counts their users; its structures are those of grants.h.

The counterpart of struct active_grant_entry, and what is done with it, in Xen's common/grant_table.c.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Sequence
from ctypes import POINTER, c_int, c_uint16, c_uint32, c_uint64, c_void_p
from functools import cache

from xenolith.abi.grant_table import GRANT_ENTRY_V1, GrantStatus
from xenolith.hypervisor.grant_table.active import ActiveEntry
from xenolith.hypervisor.grant_table.errors import GrantError
from xenolith.hypervisor.p2m import PlainRam
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, Gfn, Mfn
from xenolith.machine.native_code import Sizes, load_beside

_NO_FRAME = (1 << 64) - 1
_MAP_NORESERVE = 0x4000

_FindFrame = ctypes.CFUNCTYPE(c_uint64, c_uint64)


class _PlainRam(ctypes.Structure):
    _fields_ = (("gfn", c_uint64), ("mfn", c_uint64), ("count", c_uint64), ("other", c_void_p))


class _ActiveEntry(ctypes.Structure):
    _fields_ = (
        ("gfn", c_uint64),
        ("mfn", c_uint64),
        ("readers", c_uint32),
        ("writers", c_uint32),
        ("domid", c_uint16),
        ("start", c_uint16),
        ("length", c_uint16),
        ("is_sub_page", c_uint16),
    )


class _Grants(ctypes.Structure):
    _fields_ = (
        ("memory", c_void_p),
        ("frames", c_uint64),
        ("shared", c_void_p),
        ("status", c_void_p),
        ("active", c_void_p),
        ("pinned", c_void_p),
        ("ram", c_void_p),
        ("ram_count", c_uint64),
        ("find_frame", _FindFrame),
        ("count", c_uint32),
        ("version", c_uint32),
    )


_REFUSALS = {
    1: (GrantStatus.bad_gntref, "there is no reference {}"),
    2: (GrantStatus.general_error, "reference {} is not granted, or not so"),
    3: (GrantStatus.general_error, "reference {} is read-only"),
    4: (GrantStatus.general_error, "reference {} is in use otherwise"),
    5: (GrantStatus.general_error, "reference {} is pinned too often"),
    6: (GrantStatus.bad_page, "reference {}: the frame is not there"),
}
"""enum grant_refusal."""


def refused(refusal: int, ref: int) -> GrantError:
    """The error for what enum grant_refusal says of a reference."""
    status, why = _REFUSALS[refusal]
    return GrantError(status, why.format(ref))


@cache
def load_grants() -> ctypes.PyDLL:
    """The C code beside this module; it is called without giving up the interpreter."""
    library = load_beside(
        __file__,
        "_grants",
        "the grant table's C code",
        OSError,
        ctypes.PyDLL,
        Sizes("xenolith_grants_size", ctypes.sizeof(_Grants)),
    )
    one = (c_void_p, c_uint32, c_uint16, c_int, c_uint16)
    library.xenolith_grants_look.argtypes = (*one, c_void_p)
    library.xenolith_grants_pin.argtypes = one
    library.xenolith_grants_unpin.argtypes = [c_void_p, c_uint32, c_int]
    library.xenolith_grants_unpin.restype = None
    library.xenolith_grants_pin_all.argtypes = [
        *(c_void_p, c_void_p, c_void_p, c_uint32, c_uint16, c_int, c_uint16, POINTER(c_int))
    ]
    library.xenolith_grants_pin_all.restype = c_uint32
    library.xenolith_grants_unpin_all.argtypes = [c_void_p, c_void_p, c_uint32, c_int]
    library.xenolith_grants_unpin_all.restype = None
    library.xenolith_grants_any_in_use.argtypes = [c_void_p, c_uint32]
    return library


class NativeGrants:
    """Who uses which grants of a table of at most ``max_frames`` frames, over the domain's ``memory``.

    ``find_frame`` tells what is behind a guest frame that is not plain ``ram``.
    """

    def __init__(
        self,
        memory: memoryview,
        ram: Sequence[PlainRam],
        find_frame: Callable[[Gfn], Mfn | None],
        max_frames: int,
    ) -> None:
        self._library = load_grants()
        frames = len(memory) >> PAGE_SHIFT
        references = max_frames * PAGE_SIZE // GRANT_ENTRY_V1.size
        self._shared = (c_uint64 * max_frames)()
        self._status = (c_uint64 * max_frames)()
        active = _zeroes(references * ctypes.sizeof(_ActiveEntry))
        self._active = (_ActiveEntry * references).from_buffer(active)
        pinned = _zeroes(frames * ctypes.sizeof(c_uint32))
        self._pinned = memoryview(pinned).cast("I")
        extents = (_PlainRam * len(ram))(
            *(_PlainRam(each.gfn, each.mfn, each.count, _address_of(each.other)) for each in ram)
        )

        def find(gfn: int) -> int:
            mfn = find_frame(Gfn(gfn))
            return _NO_FRAME if mfn is None else mfn

        self._grants = _Grants(
            _address_of(memory),
            frames,
            ctypes.addressof(self._shared),
            ctypes.addressof(self._status),
            ctypes.addressof(self._active),
            _address_of(pinned),
            ctypes.addressof(extents),
            len(extents),
            _FindFrame(find),
        )
        # What C has the addresses of lives as long as this object.
        self._kept = (memory, [each.other for each in ram], extents)
        self._found = _ActiveEntry()
        self._found_address = ctypes.addressof(self._found)
        self.address = ctypes.addressof(self._grants)
        """Of struct grants, for the C code of backends; this object must outlive its use."""

    def layout(
        self, version: int, shared: Sequence[Mfn], status: Sequence[Mfn], count: int
    ) -> None:
        """Where the ``count`` entries are from now on."""
        self._shared[: len(shared)] = list(shared)
        self._status[: len(status)] = list(status)
        self._grants.version = version
        self._grants.count = count

    def look(self, ref: int, domid: int, readonly: bool, checked_flags: int) -> ActiveEntry:
        """What a grant is, if it may be used so; GrantError."""
        if ref >> 32:
            raise refused(1, ref)
        refusal = self._library.xenolith_grants_look(
            self.address, ref, domid, readonly, checked_flags, self._found_address
        )
        if refusal:
            raise refused(refusal, ref)
        return _entry(ref, self._found)

    def pin(self, ref: int, domid: int, readonly: bool, checked_flags: int) -> ActiveEntry:
        """Count a user of a grant; GrantError."""
        if ref >> 32:
            raise refused(1, ref)
        refusal = self._library.xenolith_grants_pin(
            self.address, ref, domid, readonly, checked_flags
        )
        if refusal:
            raise refused(refusal, ref)
        return _entry(ref, self._active[ref])

    def unpin(self, ref: int, readonly: bool) -> None:
        """Undo one :meth:`pin`."""
        self._library.xenolith_grants_unpin(self.address, ref, readonly)

    def pin_all(
        self,
        refs: ctypes.Array[c_uint32],
        frames: ctypes.Array[c_uint64],
        domid: int,
        checked: tuple[bool, int],
    ) -> None:
        """Count a user of each of many grants, or of none; GrantError. ``checked`` is as for pin().

        ``frames`` are the machine frames that they were of when they were looked at: others are refused.
        """
        readonly, flags = checked
        refusal = c_int()
        done = self._library.xenolith_grants_pin_all(
            self.address, refs, frames, len(refs), domid, readonly, flags, refusal
        )
        if done < len(refs):
            raise refused(refusal.value, refs[done])

    def unpin_all(self, refs: ctypes.Array[c_uint32], readonly: bool) -> None:
        """Undo one :meth:`pin_all`."""
        self._library.xenolith_grants_unpin_all(self.address, refs, len(refs), readonly)

    def is_in_use(self, ref: int) -> bool:
        """Whether a grant is in use."""
        active = self._active[ref]
        return bool(active.readers or active.writers)

    def is_pinned(self, mfn: Mfn) -> bool:
        """Whether a grant of a machine frame is in use."""
        return mfn < len(self._pinned) and self._pinned[mfn] != 0

    def any_in_use(self, first: int) -> bool:
        """Whether a grant from reference ``first`` on is in use."""
        return bool(self._library.xenolith_grants_any_in_use(self.address, first))


def _entry(ref: int, found: _ActiveEntry) -> ActiveEntry:
    return ActiveEntry(ref, Gfn(found.gfn), Mfn(found.mfn), found.start, found.length)


def _zeroes(size: int) -> mmap.mmap:
    """Memory that costs nothing where it is not touched: a domain may be larger than the host."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    return mmap.mmap(-1, max(size, PAGE_SIZE), flags=flags)


def _address_of(buffer: memoryview | bytearray | mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
