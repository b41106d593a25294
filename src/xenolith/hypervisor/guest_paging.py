"""Guest-virtual memory as a hypercall sees it: translated by the calling vCPU's own page tables.

The formats are those of the Intel SDM, volume 3, chapter 4; the checks those of Xen's guest_walk_tables().
"""

from __future__ import annotations

from xenolith.abi.errno import Errno, XenError
from xenolith.engine.hvm import Registers
from xenolith.hypervisor.guest_access import LONG_WORD
from xenolith.hypervisor.p2m import P2m
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, GuestPhys, GuestVirt
from xenolith.machine.memory import MachineMemory

_CR0_WP, _CR0_PG = 1 << 16, 1 << 31
_CR4_PSE, _CR4_PAE = 1 << 4, 1 << 5
_EFER_LMA = 1 << 10
_PRESENT, _WRITABLE, _LARGE = 1, 2, 0x80
_ADDRESS = 0x000F_FFFF_FFFF_F000
_LONG_SHIFTS = (39, 30, 21, 12)
_TOP_SHIFT = 39
_LOW32 = 0xFFFFFFFF


class GuestPaging:
    """Copies to and from the address space that a vCPU's registers select."""

    def __init__(self, memory: MachineMemory, p2m: P2m, registers: Registers) -> None:
        self._view = memory.view
        self._words64 = memory.view.cast("Q")
        self._words32 = memory.view.cast("I")
        self._p2m = p2m
        self._registers = registers
        self.word = LONG_WORD
        """See GuestAccess: what it is while no hypercall of 32 bits is made."""

    def copy_from(self, address: GuestVirt, size: int) -> bytes:
        """Read ``size`` bytes at a guest-virtual address; XenError(EFAULT) where none is mapped."""
        if not size:
            return b""
        start = self.translate(address)
        room = PAGE_SIZE - (address & PAGE_SIZE - 1)
        if size <= room:
            return bytes(self._view[start : start + size])
        parts = bytearray(self._view[start : start + room])
        while len(parts) < size:
            start = self.translate(GuestVirt(address + len(parts)))
            parts += self._view[start : start + min(PAGE_SIZE, size - len(parts))]
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
        registers = self._registers
        cr0 = registers.cr0
        if not cr0 & _CR0_PG:
            return self._p2m.machine_address(GuestPhys(address))
        write = write and bool(cr0 & _CR0_WP)
        if registers.efer & _EFER_LMA:
            physical = self._walk_long(address, registers.cr3, write)
        elif registers.cr4 & _CR4_PAE:
            physical = self._walk_pae(address & _LOW32, registers.cr3, write)
        else:
            physical = self._walk_32bit(address & _LOW32, registers.cr3, registers.cr4, write)
        return self._p2m.machine_address(GuestPhys(physical))

    def _walk_long(self, address: int, cr3: int, write: bool) -> int:
        if not (address >> 47 == 0 or address >> 47 == 0x1FFFF):
            raise _fault(address)
        return self._walk64(address, cr3 & _ADDRESS, _LONG_SHIFTS, write)

    def _walk_pae(self, address: int, cr3: int, write: bool) -> int:
        # The four top entries have no writable bit, so they are read apart.
        entry = self._read64((cr3 & 0xFFFFFFE0) + 8 * (address >> 30))
        if not entry & _PRESENT:
            raise _fault(address)
        return self._walk64(address, entry & _ADDRESS, _LONG_SHIFTS[2:], write)

    def _walk64(self, address: int, table: int, shifts: tuple[int, ...], write: bool) -> int:
        for shift in shifts:
            entry = self._read64(table + 8 * (address >> shift & 511))
            if not entry & _PRESENT or (write and not entry & _WRITABLE):
                raise _fault(address)
            if shift == PAGE_SHIFT:
                return entry & _ADDRESS | address & PAGE_SIZE - 1
            if entry & _LARGE:
                if shift == _TOP_SHIFT:
                    # The bit is reserved there.
                    raise _fault(address)
                offset_mask = (1 << shift) - 1
                return entry & _ADDRESS & ~offset_mask | address & offset_mask
            table = entry & _ADDRESS
        raise AssertionError("the last shift is that of a page")

    def _walk_32bit(self, address: int, cr3: int, cr4: int, write: bool) -> int:
        entry = self._read32((cr3 & 0xFFFFF000) + 4 * (address >> 22))
        if not entry & _PRESENT or (write and not entry & _WRITABLE):
            raise _fault(address)
        if entry & _LARGE and cr4 & _CR4_PSE:
            # Bits 20-13 of a 4 MiB entry are address bits 39-32 (PSE-36).
            return (entry >> 13 & 0xFF) << 32 | entry & 0xFFC00000 | address & 0x3FFFFF
        entry = self._read32((entry & 0xFFFFF000) + 4 * (address >> 12 & 1023))
        if not entry & _PRESENT or (write and not entry & _WRITABLE):
            raise _fault(address)
        return entry & 0xFFFFF000 | address & 0xFFF

    def _read64(self, physical: int) -> int:
        return self._words64[self._p2m.machine_address(GuestPhys(physical)) >> 3]

    def _read32(self, physical: int) -> int:
        return self._words32[self._p2m.machine_address(GuestPhys(physical)) >> 2]


def _fault(address: int) -> XenError:
    return XenError(Errno.EFAULT, f"guest-virtual {address:#x} is not mapped so")
