"""Notes which entries of a PV domain's page tables have changed, for engines that have to be told.

Those are engines whose processor runs on copies of the tables. Native code writes the same notes: native_calls.h.
"""

from __future__ import annotations

import ctypes
from ctypes import c_uint32, c_uint64, c_void_p

_ROOM = 256
"""More changes than these between two flushes of the TLB are dearer than to drop all copies."""

_ACCESSED, _DIRTY, _WRITABLE = 0x20, 0x40, 2
_AVAILABLE = 0x0FF0_0000_0000_0E00
_PRESENT = 1


class _Struct(ctypes.Structure):
    """struct table_changes."""

    _fields_ = (
        ("entries", c_void_p),
        ("count", c_uint64),
        ("size", c_uint64),
        ("too_many", c_uint32),
    )


class TableChanges:
    """Machine addresses of entries, up to _ROOM of them; then only that there were too many."""

    def __init__(self) -> None:
        self._entries = (c_uint64 * _ROOM)()
        self._struct = _Struct(ctypes.addressof(self._entries), 0, _ROOM, 0)
        self.address = ctypes.addressof(self._struct)
        """Of the struct table_changes, for native code; it lives as long as this object."""

    def add(self, address: int, old: int, new: int) -> None:
        """Note that an entry has been changed, if it may have been read before and allows less than it did."""
        if not (old & _PRESENT and old & _ACCESSED and (old ^ new) & ~_AVAILABLE):
            return
        if not (old ^ new) & ~(_AVAILABLE | _WRITABLE | _DIRTY) and not old & ~new:
            return
        struct = self._struct
        if struct.count < _ROOM:
            self._entries[struct.count] = address
            struct.count += 1
        else:
            struct.too_many = 1

    def noted(self) -> list[int]:
        """The machine addresses so far."""
        return list(self._entries[: self._struct.count])
