"""The page that a vCPU shares with its process, and what it tells there about an exit (linux/kvm.h)."""

from __future__ import annotations

import ctypes
from ctypes import c_uint8, c_uint16, c_uint32, c_uint64

from xenolith.engine.kvm.structures.registers import GeneralRegisters, SpecialRegisters, VcpuEvents


class IoExit(ctypes.Structure):
    """``io`` of struct kvm_run."""

    _fields_ = (
        ("direction", c_uint8),
        ("size", c_uint8),
        ("port", c_uint16),
        ("count", c_uint32),
        ("data_offset", c_uint64),
    )


class MmioExit(ctypes.Structure):
    """``mmio`` of struct kvm_run."""

    _fields_ = (
        ("phys_addr", c_uint64),
        ("data", c_uint8 * 8),
        ("len", c_uint32),
        ("is_write", c_uint8),
    )


class MsrExit(ctypes.Structure):
    """``msr`` of struct kvm_run."""

    _fields_ = (
        ("error", c_uint8),
        ("pad", c_uint8 * 7),
        ("reason", c_uint32),
        ("index", c_uint32),
        ("data", c_uint64),
    )


class InternalError(ctypes.Structure):
    """``internal`` of struct kvm_run."""

    _fields_ = (("suberror", c_uint32), ("ndata", c_uint32), ("data", c_uint64 * 16))


class XenExit(ctypes.Structure):
    """``xen`` of struct kvm_run, for hypercalls."""

    _fields_ = (
        ("type", c_uint32),
        ("padding", c_uint32),
        ("longmode", c_uint32),
        ("cpl", c_uint32),
        ("input", c_uint64),
        ("result", c_uint64),
        ("params", c_uint64 * 6),
    )


class ExitInformation(ctypes.Union):
    """What struct kvm_run tells about an exit, by its reason."""

    _fields_ = (
        ("hardware_entry_failure_reason", c_uint64),
        ("io", IoExit),
        ("mmio", MmioExit),
        ("msr", MsrExit),
        ("internal", InternalError),
        ("xen", XenExit),
        ("padding", c_uint8 * 256),
    )


class SyncedRegisters(ctypes.Structure):
    """struct kvm_sync_regs."""

    _fields_ = (
        ("regs", GeneralRegisters),
        ("sregs", SpecialRegisters),
        ("events", VcpuEvents),
    )


class Run(ctypes.Structure):
    """struct kvm_run: the page that a vCPU shares with its process."""

    _fields_ = (
        ("request_interrupt_window", c_uint8),
        ("immediate_exit", c_uint8),
        ("padding1", c_uint8 * 6),
        ("exit_reason", c_uint32),
        ("ready_for_interrupt_injection", c_uint8),
        ("if_flag", c_uint8),
        ("flags", c_uint16),
        ("cr8", c_uint64),
        ("apic_base", c_uint64),
        ("exit", ExitInformation),
        ("kvm_valid_regs", c_uint64),
        ("kvm_dirty_regs", c_uint64),
        ("s", SyncedRegisters),
    )
