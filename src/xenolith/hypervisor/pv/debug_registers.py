"""The debug registers of a PV vCPU, as far as a guest may set them (xen/arch/x86/debug.c)."""

from __future__ import annotations

from xenolith.abi.errno import Errno, XenError

_DR6_FIXED, _DR6_WRITABLE = 0xFFFF0FF0, 0xE00F
_DR7_FIXED, _DR7_RESERVED = 0x400, 0xD800
_DR7_GENERAL_DETECT = 1 << 13
_USER_END, _KERNEL_START = 0x8000_0000_0000, 0xFFFF_8800_0000_0000


class DebugRegisters:
    """DR0 to DR3, DR6 and DR7. Breakpoints are kept but not armed: the engines have none."""

    def __init__(self) -> None:
        self._values = {number: 0 for number in range(4)}
        self._values[6] = _DR6_FIXED
        self._values[7] = _DR7_FIXED

    def read(self, number: int) -> int:
        """The register's value; XenError(EINVAL) if there is no such register."""
        value = self._values.get(_real(number))
        if value is None:
            raise XenError(Errno.EINVAL, f"debug register {number}")
        return value

    def write(self, number: int, value: int) -> None:
        """Set a register; XenError(EINVAL, EPERM) where the guest may not."""
        number = _real(number)
        if number in range(4):
            if _USER_END <= value < _KERNEL_START:
                raise XenError(Errno.EPERM, f"a breakpoint at {value:#x}")
        elif number == 6:
            value = value & _DR6_WRITABLE | _DR6_FIXED
        elif number == 7:
            if value >> 32 or value & _DR7_GENERAL_DETECT:
                raise XenError(Errno.EPERM, f"DR7 {value:#x}")
            value = value & ~_DR7_RESERVED | _DR7_FIXED
        else:
            raise XenError(Errno.EINVAL, f"debug register {number}")
        self._values[number] = value


def _real(number: int) -> int:
    """Without CR4.DE, DR4 and DR5 are other names."""
    return number + 2 if number in (4, 5) else number
