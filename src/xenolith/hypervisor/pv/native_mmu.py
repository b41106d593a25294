"""Loads _mmu.c, which does the updates of page tables that running guests make by the thousand.

The Python beside it, page_table.py and its users, says what is right; a test compares the two.
"""

from __future__ import annotations

import ctypes
from ctypes import c_uint8, c_uint32, c_uint64, c_void_p
from functools import cache

from xenolith.engine.hvm import EngineError
from xenolith.engine.pv import NativeCalls
from xenolith.engine.table_changes import TableChanges
from xenolith.hypervisor.pv.page_type import PageTypes
from xenolith.machine.memory import MachineMemory
from xenolith.machine.native_code import Sizes, load_beside


class _Mmu(ctypes.Structure):
    """struct mmu."""

    _fields_ = (
        ("memory", c_void_p),
        ("frames", c_void_p),
        ("info", c_void_p),
        ("writable_dropped", c_void_p),
        ("version", c_uint64),
        ("changes", c_void_p),
        ("local_tables", c_void_p),
    )


@cache
def load_mmu() -> ctypes.CDLL:
    """The C code beside this module."""
    library = load_beside(
        __file__,
        "_mmu",
        "the hypervisor's C code",
        EngineError,
        ctypes.CDLL,
        Sizes("xenolith_mmu_size", ctypes.sizeof(_Mmu)),
    )
    library.xenolith_mmu_update_l1.argtypes = [c_void_p, c_uint64, c_uint32, c_uint64, c_uint64]
    library.xenolith_mmu_validate_l1.argtypes = [c_void_p, c_uint64]
    library.xenolith_mmu_invalidate_l1.argtypes = [c_void_p, c_uint64]
    library.xenolith_mmu_invalidate_l1.restype = None
    library.xenolith_mmu_count_up.argtypes = [c_void_p, c_uint64, c_uint64]
    library.xenolith_mmu_count_up.restype = None
    return library


def count_up(words: memoryview, first: int) -> None:
    """Store consecutive numbers, from ``first`` on, in a writable view of format ``Q``."""
    if len(words):
        target = ctypes.addressof(c_uint64.from_buffer(words))
        load_mmu().xenolith_mmu_count_up(target, first, len(words))


class NativeMmu:
    """Updates of the page tables of one domain, over its memory and the types of its frames."""

    def __init__(
        self,
        memory: MachineMemory,
        types: PageTypes,
        version: int,
        changes: TableChanges | None = None,
    ) -> None:
        self._library = load_mmu()
        self._kept = (memory, types, changes)
        # The buffers live as long as this object.
        self._mmu = _Mmu(
            memory.address,
            ctypes.addressof(c_uint64.from_buffer(types.existing)),
            ctypes.addressof(c_uint32.from_buffer(types.info)),
            ctypes.addressof(c_uint8.from_buffer(types.writable_dropped)),
            version,
            changes.address if changes is not None else None,
            ctypes.addressof(c_uint8.from_buffer(types.local_tables)),
        )
        self._address = ctypes.addressof(self._mmu)

    @property
    def calls(self) -> NativeCalls:
        """What an engine may ask first."""
        library = self._library
        return NativeCalls(
            self._address,
            ctypes.cast(library.xenolith_mmu_hypercall, c_void_p).value or 0,
            ctypes.cast(library.xenolith_mmu_store, c_void_p).value or 0,
        )

    def update_l1(self, mfn: int, index: int, value: int, kept: int = 0) -> bool:
        """PageTables.update_l1; False where that raises."""
        return bool(self._library.xenolith_mmu_update_l1(self._address, mfn, index, value, kept))

    def validate_l1(self, mfn: int) -> int:
        """Count what a page table of level 1 uses; the first entry that is not allowed, or -1."""
        index: int = self._library.xenolith_mmu_validate_l1(self._address, mfn)
        return index

    def invalidate_l1(self, mfn: int) -> None:
        """Give up what a page table of level 1 uses."""
        self._library.xenolith_mmu_invalidate_l1(self._address, mfn)
