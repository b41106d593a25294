"""The kernel's interface to KVM: requests and constants (linux/kvm.h, asm/kvm.h of x86).

Only what the engine uses is here, by the header's names.
"""

from __future__ import annotations

from ctypes import sizeof

from xenolith.engine.kvm.structures.machine import (
    DeviceAttribute,
    EnableCap,
    MemoryRegion,
    MsrFilter,
    XenConfig,
)
from xenolith.engine.kvm.structures.registers import (
    DebugRegisters,
    ExtendedControlRegisters,
    Fpu,
    Interrupt,
    VcpuEvents,
)

API_VERSION = 12

_WRITE, _READ = 1, 2


def _request(number: int, size: int = 0, direction: int = 0) -> int:
    """The number of an ioctl, as _IO() to _IOWR() of asm-generic/ioctl.h make it."""
    return direction << 30 | size << 16 | 0xAE << 8 | number


KVM_GET_API_VERSION = _request(0x00)
KVM_CREATE_VM = _request(0x01)
KVM_CHECK_EXTENSION = _request(0x03)
KVM_GET_VCPU_MMAP_SIZE = _request(0x04)
KVM_GET_SUPPORTED_CPUID = _request(0x05, 8, _READ | _WRITE)
KVM_CREATE_VCPU = _request(0x41)
KVM_SET_USER_MEMORY_REGION = _request(0x46, sizeof(MemoryRegion), _WRITE)
KVM_SET_TSS_ADDR = _request(0x47)
KVM_SET_IDENTITY_MAP_ADDR = _request(0x48, 8, _WRITE)
KVM_XEN_HVM_CONFIG = _request(0x7A, sizeof(XenConfig), _WRITE)
KVM_RUN = _request(0x80)
KVM_INTERRUPT = _request(0x86, sizeof(Interrupt), _WRITE)
KVM_SET_MSRS = _request(0x89, 8, _WRITE)
KVM_SET_FPU = _request(0x8D, sizeof(Fpu), _WRITE)
KVM_SET_CPUID2 = _request(0x90, 8, _WRITE)
KVM_NMI = _request(0x9A)
KVM_GET_VCPU_EVENTS = _request(0x9F, sizeof(VcpuEvents), _READ)
KVM_SET_VCPU_EVENTS = _request(0xA0, sizeof(VcpuEvents), _WRITE)
KVM_GET_DEBUGREGS = _request(0xA1, sizeof(DebugRegisters), _READ)
KVM_SET_DEBUGREGS = _request(0xA2, sizeof(DebugRegisters), _WRITE)
KVM_ENABLE_CAP = _request(0xA3, sizeof(EnableCap), _WRITE)
KVM_SET_XCRS = _request(0xA7, sizeof(ExtendedControlRegisters), _WRITE)
KVM_X86_SET_MSR_FILTER = _request(0xC6, sizeof(MsrFilter), _WRITE)
KVM_SET_DEVICE_ATTR = _request(0xE1, sizeof(DeviceAttribute), _WRITE)

KVM_CAP_XEN_HVM = 38
KVM_CAP_SYNC_REGS = 74
KVM_CAP_READONLY_MEM = 81
KVM_CAP_IMMEDIATE_EXIT = 136
KVM_CAP_X86_USER_SPACE_MSR = 188
KVM_CAP_X86_MSR_FILTER = 189

KVM_XEN_HVM_CONFIG_HYPERCALL_MSR, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL = 1, 2
KVM_EXIT_XEN, KVM_EXIT_XEN_HCALL = 34, 1

KVM_SYNC_X86_REGS = 1
KVM_SYNC_X86_SREGS = 2

KVM_MEM_READONLY = 2
KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1
KVM_MSR_FILTER_DEFAULT_DENY = 1
KVM_MSR_FILTER_READ, KVM_MSR_FILTER_WRITE = 1, 2
KVM_MSR_EXIT_REASON_INVAL, KVM_MSR_EXIT_REASON_UNKNOWN, KVM_MSR_EXIT_REASON_FILTER = 1, 2, 4
KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET = 0, 0
KVM_VCPUEVENT_VALID_NMI_PENDING, KVM_VCPUEVENT_VALID_SHADOW = 1, 4

KVM_EXIT_IO = 2
KVM_EXIT_HLT = 5
KVM_EXIT_MMIO = 6
KVM_EXIT_IRQ_WINDOW_OPEN = 7
KVM_EXIT_SHUTDOWN = 8
KVM_EXIT_FAIL_ENTRY = 9
KVM_EXIT_INTR = 10
KVM_EXIT_INTERNAL_ERROR = 17
KVM_EXIT_X86_RDMSR = 29
KVM_EXIT_X86_WRMSR = 30

JAIL_REQUESTS = (
    KVM_GET_API_VERSION, KVM_CREATE_VM, KVM_CHECK_EXTENSION, KVM_GET_VCPU_MMAP_SIZE,
    KVM_GET_SUPPORTED_CPUID, KVM_CREATE_VCPU, KVM_SET_USER_MEMORY_REGION, KVM_SET_TSS_ADDR,
    KVM_SET_IDENTITY_MAP_ADDR, KVM_XEN_HVM_CONFIG, KVM_RUN, KVM_INTERRUPT, KVM_SET_MSRS,
    KVM_SET_FPU, KVM_SET_CPUID2, KVM_NMI, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, KVM_SET_XCRS,
    KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, KVM_ENABLE_CAP, KVM_X86_SET_MSR_FILTER, KVM_SET_DEVICE_ATTR,
)  # fmt: skip
"""All that a domain's process asks of KVM."""
