"""What a machine is set up with: memory, capabilities, CPUID, the filter of MSRs (linux/kvm.h, asm/kvm.h)."""

from __future__ import annotations

import ctypes
from ctypes import c_uint8, c_uint32, c_uint64


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


class DeviceAttribute(ctypes.Structure):
    """struct kvm_device_attr."""

    _fields_ = (("flags", c_uint32), ("group", c_uint32), ("attr", c_uint64), ("addr", c_uint64))
