"""Guest-virtual memory of a PV vCPU as a hypercall sees it: by the page tables in use, of machine frames."""

from __future__ import annotations

from typing import Protocol

from xenolith.abi.errno import Errno, XenError
from xenolith.engine.pv import PvVcpu
from xenolith.hypervisor.guest_access import LONG_WORD
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, GuestVirt
from xenolith.machine.memory import MachineMemory

_PRESENT, _WRITABLE, _ACCESSED, _DIRTY, _LARGE = 1, 2, 0x20, 0x40, 0x80
_ADDRESS = 0x000F_FFFF_FFFF_F000
_SHIFTS = (39, 30, 21, 12)
_XEN_START, _XEN_END = 0xFFFF_8000_0000_0000, 0xFFFF_8800_0000_0000
_TOP = 0x1FFFF


class PageTableRoot(Protocol):
    """What says which page tables are looked at."""

    @property
    def cr3(self) -> int:
        """The machine address of the table of level 4."""


class KernelTables:
    """The page tables that a vCPU's kernel runs on, in whichever mode it is."""

    def __init__(self, vcpu: PvVcpu) -> None:
        self._vcpu = vcpu

    @property
    def cr3(self) -> int:
        """See PageTableRoot."""
        return self._vcpu.roots[0] << PAGE_SHIFT


def may_be_mapped(address: int) -> bool:
    """Whether an address is canonical and not Xen's."""
    return address >> 47 in (0, _TOP) and not _XEN_START <= address < _XEN_END


class PvPaging:
    """Copies to and from the address space that the vCPU's CR3 selects, less what of it is Xen's."""

    word = LONG_WORD
    """See GuestAccess."""

    def __init__(self, memory: MachineMemory, registers: PageTableRoot) -> None:
        self._view = memory.view
        self._words = memory.view.cast("Q")
        self._size = memory.size
        self._registers = registers

    def copy_from(self, address: GuestVirt, size: int) -> bytes:
        """Read ``size`` bytes at a guest-virtual address; XenError(EFAULT) where none is mapped."""
        room = PAGE_SIZE - (address & PAGE_SIZE - 1)
        if size <= room:
            if not size:
                return b""
            start = self.translate(address)
            return bytes(self._view[start : start + size])
        parts = bytearray()
        while len(parts) < size:
            part = min(room, size - len(parts))
            start = self.translate(GuestVirt(address + len(parts)))
            parts += self._view[start : start + part]
            room = PAGE_SIZE
        return bytes(parts)

    def copy_to(self, address: GuestVirt, data: bytes | bytearray | memoryview) -> None:
        """Store ``data`` at a guest-virtual address; XenError(EFAULT) where it may not."""
        done = 0
        while done < len(data):
            start = self.translate(GuestVirt(address + done), write=True)
            room = PAGE_SIZE - (address + done & PAGE_SIZE - 1)
            part = data[done : done + room]
            self._view[start : start + len(part)] = part
            done += len(part)

    def translate(self, address: GuestVirt, *, write: bool = False) -> int:
        """The machine byte address behind a guest-virtual one, for reading or writing."""
        at, entry = self.leaf(address)
        if write and not (entry & _WRITABLE and self._is_writable_above(address)):
            raise _fault(address)
        if entry & _ADDRESS >= self._size:
            raise _fault(address)
        bits = _ACCESSED | _DIRTY if write else _ACCESSED
        if entry & bits != bits:
            self._words[at >> 3] = entry | bits
        return entry & _ADDRESS | address & PAGE_SIZE - 1

    def _is_writable_above(self, address: int) -> bool:
        """Whether the entries of the upper levels let an address be written: linear ones would show tables."""
        table = self._registers.cr3 & _ADDRESS
        for shift in _SHIFTS[:-1]:
            entry = self._words[table + (address >> shift - 3 & 0xFF8) >> 3]
            if not entry & _WRITABLE:
                return False
            table = entry & _ADDRESS
        return True

    def leaf(self, address: int) -> tuple[int, int]:
        """The machine address of the level 1 entry that maps an address, and the entry; XenError(EFAULT)."""
        at, entry = self.slot(address)
        if not entry & _PRESENT:
            raise _fault(address)
        return at, entry

    def slot(self, address: int) -> tuple[int, int]:
        """As :meth:`leaf`, but the entry may be not present."""
        if not may_be_mapped(address):
            raise _fault(address)
        table = self._registers.cr3 & _ADDRESS
        words = self._words
        for shift in _SHIFTS:
            at = table + (address >> shift - 3 & 0xFF8)
            entry = words[at >> 3]
            if shift == 12:
                return at, entry
            if not entry & _PRESENT:
                break
            table = entry & _ADDRESS
            if table >= self._size:
                # Linear page tables show Xen's own entries, too.
                break
        raise _fault(address)


def _fault(address: int) -> XenError:
    return XenError(Errno.EFAULT, f"guest-virtual {address:#x} is not mapped so")
