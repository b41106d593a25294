"""Entering and leaving guest mode from outside, by the functions behind VMLOAD, VMRUN and #VMEXIT themselves.

No code ever runs in the emulated host, so it needs no page tables, only the state that decides how a nested page
table is read: long mode with PAE.
"""

from __future__ import annotations

from xenolith.engine.unicorn.machine import EmulatedMachine
from xenolith.engine.unicorn.private_memory import PrivateMemory

_REG_CR0, _REG_CR4 = 50, 54
_CR0_PG_WP_NE_ET_MP_PE = 0x80010033
_CR4_PAE_FXSR = 0x620
_EFER_SVME_LMA_LME_SCE = 0x1501
_MSR_EFER = 0xC0000080
_MSR_VM_HSAVE_PA = 0xC0010117
_ADDRESS_SIZE_64 = 2
_EXIT_INTR = 0x60


class WorldSwitch:
    """The emulated CPU's way between host and guest."""

    def __init__(self, machine: EmulatedMachine, private: PrivateMemory) -> None:
        self._library = machine.library
        self._env = machine.env
        self._registers = machine.registers
        host_save, _ = private.allocate()
        machine.write_msr(_MSR_EFER, _EFER_SVME_LMA_LME_SCE)
        machine.write_msr(_MSR_VM_HSAVE_PA, host_save)
        machine.write_register(_REG_CR4, _CR4_PAE_FXSR)
        machine.write_register(_REG_CR0, _CR0_PG_WP_NE_ET_MP_PE)

    def enter(self, vmcb: int) -> None:
        """VMLOAD and VMRUN: the CPU, in host mode, takes on the state of a control block."""
        self._registers.rax = vmcb
        self._library.vmload(self._env, _ADDRESS_SIZE_64)
        self._library.vmrun(self._env, _ADDRESS_SIZE_64, 0)

    def enter_again(self, vmcb: int) -> None:
        """#VMEXIT and VMRUN: the guest goes on where it is, under a changed control block."""
        self._library.vmexit(self._env, _EXIT_INTR, 0)
        self._registers.rax = vmcb
        self._library.vmrun(self._env, _ADDRESS_SIZE_64, 0)
