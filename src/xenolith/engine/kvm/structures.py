"""The structures of the kernel's interface to KVM that the engine uses (linux/kvm.h, asm/kvm.h of x86)."""

from __future__ import annotations

import ctypes
from ctypes import c_uint8, c_uint16, c_uint32, c_uint64


class Segment(ctypes.Structure):
    """struct kvm_segment."""

    _fields_ = (
        ("base", c_uint64),
        ("limit", c_uint32),
        ("selector", c_uint16),
        ("type", c_uint8),
        ("present", c_uint8),
        ("dpl", c_uint8),
        ("db", c_uint8),
        ("s", c_uint8),
        ("l", c_uint8),
        ("g", c_uint8),
        ("avl", c_uint8),
        ("unusable", c_uint8),
        ("padding", c_uint8),
    )


class Table(ctypes.Structure):
    """struct kvm_dtable."""

    _fields_ = (("base", c_uint64), ("limit", c_uint16), ("padding", c_uint16 * 3))


class SpecialRegisters(ctypes.Structure):
    """struct kvm_sregs."""

    _fields_ = (
        ("cs", Segment),
        ("ds", Segment),
        ("es", Segment),
        ("fs", Segment),
        ("gs", Segment),
        ("ss", Segment),
        ("tr", Segment),
        ("ldt", Segment),
        ("gdt", Table),
        ("idt", Table),
        ("cr0", c_uint64),
        ("cr2", c_uint64),
        ("cr3", c_uint64),
        ("cr4", c_uint64),
        ("cr8", c_uint64),
        ("efer", c_uint64),
        ("apic_base", c_uint64),
        ("interrupt_bitmap", c_uint64 * 4),
    )


GENERAL_NAMES = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip


class GeneralRegisters(ctypes.Structure):
    """struct kvm_regs."""

    _fields_ = (
        *((name, c_uint64) for name in GENERAL_NAMES),
        ("rip", c_uint64),
        ("rflags", c_uint64),
    )


class VcpuEvents(ctypes.Structure):
    """struct kvm_vcpu_events."""

    _fields_ = (
        ("exception_injected", c_uint8),
        ("exception_nr", c_uint8),
        ("exception_has_error_code", c_uint8),
        ("exception_pending", c_uint8),
        ("exception_error_code", c_uint32),
        ("interrupt_injected", c_uint8),
        ("interrupt_nr", c_uint8),
        ("interrupt_soft", c_uint8),
        ("interrupt_shadow", c_uint8),
        ("nmi_injected", c_uint8),
        ("nmi_pending", c_uint8),
        ("nmi_masked", c_uint8),
        ("nmi_pad", c_uint8),
        ("sipi_vector", c_uint32),
        ("flags", c_uint32),
        ("smi", c_uint8 * 4),
        ("triple_fault", c_uint8),
        ("reserved", c_uint8 * 26),
        ("exception_has_payload", c_uint8),
        ("exception_payload", c_uint64),
    )


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


class MemoryRegion(ctypes.Structure):
    """struct kvm_userspace_memory_region."""

    _fields_ = (
        ("slot", c_uint32),
        ("flags", c_uint32),
        ("guest_phys_addr", c_uint64),
        ("memory_size", c_uint64),
        ("userspace_addr", c_uint64),
    )


class EnableCap(ctypes.Structure):
    """struct kvm_enable_cap."""

    _fields_ = (
        ("cap", c_uint32),
        ("flags", c_uint32),
        ("args", c_uint64 * 4),
        ("pad", c_uint8 * 64),
    )


class Address(ctypes.Structure):
    """A __u64 that is handed over by its address."""

    _fields_ = (("value", c_uint64),)


class XenConfig(ctypes.Structure):
    """struct kvm_xen_hvm_config."""

    _fields_ = (
        ("flags", c_uint32),
        ("msr", c_uint32),
        ("blob_addr_32", c_uint64),
        ("blob_addr_64", c_uint64),
        ("blob_size_32", c_uint8),
        ("blob_size_64", c_uint8),
        ("pad2", c_uint8 * 30),
    )


class Interrupt(ctypes.Structure):
    """struct kvm_interrupt."""

    _fields_ = (("irq", c_uint32),)


class CpuidEntry(ctypes.Structure):
    """struct kvm_cpuid_entry2."""

    _fields_ = (
        ("function", c_uint32),
        ("index", c_uint32),
        ("flags", c_uint32),
        ("eax", c_uint32),
        ("ebx", c_uint32),
        ("ecx", c_uint32),
        ("edx", c_uint32),
        ("padding", c_uint32 * 3),
    )


MAX_CPUID_ENTRIES = 256


class Cpuid(ctypes.Structure):
    """struct kvm_cpuid2 with room for MAX_CPUID_ENTRIES."""

    _fields_ = (
        ("nent", c_uint32),
        ("padding", c_uint32),
        ("entries", CpuidEntry * MAX_CPUID_ENTRIES),
    )


class Msr(ctypes.Structure):
    """struct kvm_msr_entry."""

    _fields_ = (("index", c_uint32), ("reserved", c_uint32), ("data", c_uint64))


class Msrs(ctypes.Structure):
    """struct kvm_msrs with room for 16."""

    _fields_ = (("nmsrs", c_uint32), ("pad", c_uint32), ("entries", Msr * 16))


class MsrFilterRange(ctypes.Structure):
    """struct kvm_msr_filter_range."""

    _fields_ = (
        ("flags", c_uint32),
        ("nmsrs", c_uint32),
        ("base", c_uint32),
        ("bitmap", c_uint64),
    )


class MsrFilter(ctypes.Structure):
    """struct kvm_msr_filter."""

    _fields_ = (("flags", c_uint32), ("ranges", MsrFilterRange * 16))


class DebugRegisters(ctypes.Structure):
    """struct kvm_debugregs."""

    _fields_ = (
        ("db", c_uint64 * 4),
        ("dr6", c_uint64),
        ("dr7", c_uint64),
        ("flags", c_uint64),
        ("reserved", c_uint64 * 9),
    )


class DeviceAttribute(ctypes.Structure):
    """struct kvm_device_attr."""

    _fields_ = (("flags", c_uint32), ("group", c_uint32), ("attr", c_uint64), ("addr", c_uint64))


class Fpu(ctypes.Structure):
    """struct kvm_fpu."""

    _fields_ = (
        ("fpr", c_uint8 * 128),
        ("fcw", c_uint16),
        ("fsw", c_uint16),
        ("ftwx", c_uint8),
        ("pad1", c_uint8),
        ("last_opcode", c_uint16),
        ("last_ip", c_uint64),
        ("last_dp", c_uint64),
        ("xmm", c_uint8 * 256),
        ("mxcsr", c_uint32),
        ("pad2", c_uint32),
    )


class ExtendedControlRegister(ctypes.Structure):
    """struct kvm_xcr."""

    _fields_ = (("xcr", c_uint32), ("reserved", c_uint32), ("value", c_uint64))


class ExtendedControlRegisters(ctypes.Structure):
    """struct kvm_xcrs."""

    _fields_ = (
        ("nr_xcrs", c_uint32),
        ("flags", c_uint32),
        ("xcrs", ExtendedControlRegister * 16),
        ("padding", c_uint64 * 16),
    )
