"""The debug registers of a PV vCPU, as far as a guest may set them (set_debugreg in xen/arch/x86/pv)."""

from __future__ import annotations

from xenolith.abi.errno import Errno, XenError
from xenolith.engine.pv import PvVcpu

_DR6_FIXED, _DR6_WRITABLE = 0xFFFF0FF0, 0xE00F
_DR7_FIXED, _DR7_RESERVED = 0x400, 0xD800
_DR7_GENERAL_DETECT = 1 << 13
_KINDS = range(16, 32, 4)
_KIND_IO = 2
"""What a breakpoint is about, and how much of it: four bits each, from bit 16 on."""
_USER_END, _KERNEL_START = 0x8000_0000_0000, 0xFFFF_8800_0000_0000
_STATUS, _CONTROL = 6, 7


class DebugRegisters:
    """DR0 to DR3, DR6 and DR7 of a vCPU of the engine's."""

    def __init__(self, vcpu: PvVcpu) -> None:
        self._vcpu = vcpu
        self._addresses = [0, 0, 0, 0]
        self._control = _DR7_FIXED
        self.extended = False
        """CR4.DE: there are breakpoints on ports, and no DR4 and DR5."""

    def read(self, number: int) -> int:
        """The register's value; XenError(ENODEV) if there is no such register."""
        match self._real(number):
            case 0 | 1 | 2 | 3:
                return self._addresses[number]
            case 6:
                return self._vcpu.debug_status
            case 7:
                return self._control
        raise XenError(Errno.ENODEV, f"debug register {number}")

    def write(self, number: int, value: int) -> None:
        """Set a register; XenError(ENODEV, EINVAL, EPERM) where the guest may not."""
        match self._real(number):
            case 0 | 1 | 2 | 3:
                if _USER_END <= value < _KERNEL_START:
                    raise XenError(Errno.EPERM, f"a breakpoint at {value:#x}")
                self._addresses[number] = value
            case 6:
                _check_upper_half(value)
                self._vcpu.debug_status = value & _DR6_WRITABLE | _DR6_FIXED
                return
            case 7:
                _check_upper_half(value)
                self._control = self._checked(value & ~_DR7_RESERVED | _DR7_FIXED)
            case _:
                raise XenError(Errno.ENODEV, f"debug register {number}")
        # No breakpoint on a port is ever hit: the guest has no ports.
        control = self._control & ~_enabled_on_ports(self._control)
        self._vcpu.set_breakpoints(tuple(self._addresses), control)

    def _real(self, number: int) -> int:
        """Without CR4.DE, DR4 and DR5 are other names."""
        return number + 2 if number in (4, 5) and not self.extended else number

    def _checked(self, control: int) -> int:
        """DR7 without general detection, and without breakpoints on ports unless CR4.DE is set."""
        if control & _DR7_GENERAL_DETECT:
            raise XenError(Errno.EPERM, f"DR7 {control:#x}")
        if _enabled_on_ports(control) and not self.extended:
            raise XenError(Errno.EPERM, f"breakpoints on ports: DR7 {control:#x}")
        return control


def _check_upper_half(value: int) -> None:
    if value >> 32:
        raise XenError(Errno.EINVAL, f"{value:#x} in a debug register of 32 bits")


def _enabled_on_ports(control: int) -> int:
    """The bits that enable breakpoints on ports."""
    kinds = enumerate(_KINDS)
    return control & sum(3 << 2 * index for index, kind in kinds if control >> kind & 3 == _KIND_IO)
