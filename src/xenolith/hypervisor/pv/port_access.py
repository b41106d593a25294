"""Which I/O ports a PV vCPU may use: the privilege level and the bitmap that its kernel has asked for.

As iopl_ok and guest_io_okay of xen/arch/x86/pv/emul-priv-op.c; the hypercalls are PHYSDEVOP_set_iopl and
PHYSDEVOP_set_iobitmap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import XenError
from xenolith.engine.pv import PvVcpu as EnginePvVcpu
from xenolith.hypervisor.pv.paging import KernelTables, PvPaging
from xenolith.machine.address import GuestVirt

if TYPE_CHECKING:
    from xenolith.machine.memory import MachineMemory

_KERNEL_LEVEL, _PROGRAM_LEVEL = 1, 3
"""Xen takes a PV guest's kernel to run at level 1."""
_BITMAP_BYTES_READ = 2
"""As by a processor: the bits of an access may lie in two bytes."""


class PageFault(Exception):  # noqa: N818 - it is not an error of ours
    """Raised to make the instruction that is being emulated fault in the guest."""

    def __init__(self, address: int, error_code: int = 0) -> None:
        super().__init__(f"{address:#x}")
        self.address = address
        self.error_code = error_code


class PortAccess:
    """One vCPU's: level 0 to 3, and a bitmap of the first so many ports in its kernel's memory."""

    def __init__(self, memory: MachineMemory, vcpu: EnginePvVcpu) -> None:
        self.level = 0
        self._bitmap = GuestVirt(0)
        self._ports = 0
        self._vcpu = vcpu
        self._kernel_memory = PvPaging(memory, KernelTables(vcpu))

    def set_bitmap(self, address: GuestVirt, ports: int) -> None:
        """Let programs use those of the first ``ports`` ports whose bits are clear."""
        self._bitmap, self._ports = address, ports

    @property
    def is_privileged(self) -> bool:
        """Whether all ports may be used, and CLI and STI, in the mode that the vCPU is in."""
        needed = _KERNEL_LEVEL if self._vcpu.in_kernel else _PROGRAM_LEVEL
        return needed <= self.level

    def allows(self, port: int, size: int) -> bool:
        """Whether ``size`` bytes from a port on may be used; PageFault where the bitmap cannot be read."""
        if self.is_privileged:
            return True
        if port + size > self._ports:
            return False
        address = GuestVirt(self._bitmap + port // 8)
        try:
            raw = self._kernel_memory.copy_from(address, _BITMAP_BYTES_READ)
        except XenError as error:
            raise PageFault(address) from error
        return not int.from_bytes(raw, "little") >> port % 8 & (1 << size) - 1
