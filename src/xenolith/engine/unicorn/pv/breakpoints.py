"""The debug registers of the emulated processor, as MOV to them would change them.

The library has breakpoints on the execution of an instruction; those on data never strike.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int, c_uint64, c_void_p

from xenolith.engine.unicorn.machine import EmulatedMachine

_REG_DR6 = 72
_CONTROL = 7
_OFF, _ENABLED = 0x400, 0xFF


class Breakpoints:
    """One machine's debug registers; the breakpoints are those of the vCPU that is loaded."""

    def __init__(self, machine: EmulatedMachine) -> None:
        self._machine = machine
        prototype = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_uint64)
        self._set = prototype(machine.library.address("helper_set_dr_x86_64"))
        self._armed = False

    @property
    def status(self) -> int:
        """DR6."""
        return self._machine.read_register(_REG_DR6)

    @status.setter
    def status(self, value: int) -> None:
        self._machine.write_register(_REG_DR6, value)

    def arm(self, addresses: Sequence[int], control: int) -> None:
        """Have DR0 to DR3 and DR7 say these."""
        self.disarm()
        if control & _ENABLED:
            for number, address in enumerate(addresses):
                self._set(self._machine.env, number, address)
            self._set(self._machine.env, _CONTROL, control)
            self._armed = True

    def disarm(self) -> None:
        """Have no breakpoint strike. A context of registers must not be saved with any."""
        if self._armed:
            self._set(self._machine.env, _CONTROL, _OFF)
            self._armed = False
