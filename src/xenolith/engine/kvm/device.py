"""/dev/kvm and the machines made from it: the requests that are not about one vCPU (linux/kvm.h).

Requests go through ctypes: fcntl.ioctl() refuses arguments of 2 GiB and more and copies structures.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from collections.abc import Sequence
from functools import cached_property

from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm import api
from xenolith.engine.kvm.structures.machine import (
    MAX_CPUID_ENTRIES,
    Address,
    Cpuid,
    EnableCap,
    MemoryRegion,
    MsrFilter,
    XenConfig,
)

PATH = "/dev/kvm"

_NEEDED = {
    api.KVM_CAP_SYNC_REGS: "registers shared with user space (KVM_CAP_SYNC_REGS)",
    api.KVM_CAP_READONLY_MEM: "read-only memory (KVM_CAP_READONLY_MEM)",
    api.KVM_CAP_IMMEDIATE_EXIT: "immediate exits (KVM_CAP_IMMEDIATE_EXIT)",
    api.KVM_CAP_X86_USER_SPACE_MSR: "MSR exits (KVM_CAP_X86_USER_SPACE_MSR)",
    api.KVM_CAP_X86_MSR_FILTER: "MSR filters (KVM_CAP_X86_MSR_FILTER)",
}

_XEN_NEEDED = api.KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL

_TSS_ADDRESS = 0xFEFFD000
_IDENTITY_MAP_ADDRESS = 0xFEFFC000
"""Where Intel processors that cannot run real mode otherwise keep three pages and one."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]

Leaf = tuple[int, int, int, int]


def request(fd: int, number: int, argument: ctypes.Structure | int | None = None) -> int:
    """ioctl(2) with a structure's address or a plain value; OSError."""
    # A structure stays referenced, by its own name, until the call is over.
    value = ctypes.addressof(argument) if isinstance(argument, ctypes.Structure) else argument
    result: int = _libc.ioctl(fd, number, value)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


class KvmDevice:
    """An open /dev/kvm that can do what the engine needs; takes ``fd`` over. EngineError."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        weakref.finalize(self, os.close, fd)
        try:
            version = request(fd, api.KVM_GET_API_VERSION)
            missing = [
                what
                for capability, what in _NEEDED.items()
                if not request(fd, api.KVM_CHECK_EXTENSION, capability)
            ]
        except OSError as error:
            raise EngineError(f"{PATH} does not answer: {error.strerror}") from None
        if version != api.API_VERSION:
            raise EngineError(f"{PATH} has version {version}, not {api.API_VERSION}")
        if missing:
            raise EngineError(f"this kernel's KVM lacks {', '.join(missing)}")

    @classmethod
    def open(cls) -> KvmDevice:
        """Open /dev/kvm; EngineError where it is absent or not ours to use."""
        try:
            fd = os.open(PATH, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise EngineError(f"{PATH} cannot be opened: {error.strerror}") from None
        return cls(fd)

    @cached_property
    def has_xen(self) -> bool:
        """Whether hypercalls can come from KVM as exits of their own."""
        return bool(request(self.fd, api.KVM_CHECK_EXTENSION, api.KVM_CAP_XEN_HVM) & _XEN_NEEDED)

    @cached_property
    def supported_cpuid(self) -> dict[tuple[int, int], Leaf]:
        """What KVM can let guests see, by leaf and subleaf (0 where there is only one)."""
        cpuid = Cpuid(nent=MAX_CPUID_ENTRIES)
        request(self.fd, api.KVM_GET_SUPPORTED_CPUID, cpuid)
        return {
            (entry.function, entry.index): (entry.eax, entry.ebx, entry.ecx, entry.edx)
            for entry in cpuid.entries[: cpuid.nent]
        }

    def create_machine(self) -> KvmMachine:
        """A machine without vCPUs and memory, in the process that will run it."""
        return KvmMachine(self)


class KvmMachine:
    """A machine: its memory slots. Belongs to the process that made it."""

    def __init__(self, device: KvmDevice) -> None:
        self.device = device
        try:
            self.fd = request(device.fd, api.KVM_CREATE_VM, 0)
        except OSError as error:
            raise EngineError(f"KVM makes no machine: {error.strerror}") from None
        self._free_slots: list[int] = []
        self._next_slot = 0
        self._run_size = request(device.fd, api.KVM_GET_VCPU_MMAP_SIZE)
        request(self.fd, api.KVM_SET_IDENTITY_MAP_ADDR, Address(_IDENTITY_MAP_ADDRESS))
        request(self.fd, api.KVM_SET_TSS_ADDR, _TSS_ADDRESS)

    def report_msrs(self, direct: Sequence[range]) -> None:
        """Have every MSR but those in ``direct`` exit."""
        reasons = (
            api.KVM_MSR_EXIT_REASON_INVAL
            | api.KVM_MSR_EXIT_REASON_UNKNOWN
            | api.KVM_MSR_EXIT_REASON_FILTER
        )
        enable = EnableCap(cap=api.KVM_CAP_X86_USER_SPACE_MSR)
        enable.args[0] = reasons
        request(self.fd, api.KVM_ENABLE_CAP, enable)
        allowed = MsrFilter(flags=api.KVM_MSR_FILTER_DEFAULT_DENY)
        bitmaps = []
        for entry, msrs in zip(allowed.ranges, direct, strict=False):
            bitmap = (ctypes.c_uint8 * (-(-len(msrs) // 8)))()
            ctypes.memset(bitmap, 0xFF, ctypes.sizeof(bitmap))
            bitmaps.append(bitmap)
            entry.flags = api.KVM_MSR_FILTER_READ | api.KVM_MSR_FILTER_WRITE
            entry.base, entry.nmsrs = msrs.start, len(msrs)
            entry.bitmap = ctypes.addressof(bitmap)
        request(self.fd, api.KVM_X86_SET_MSR_FILTER, allowed)

    def intercept_hypercalls(self, msr: int) -> None:
        """Have VMMCALL and VMCALL exit. ``msr`` is that of the hypercall page, whose writes must exit, too."""
        config = XenConfig(flags=api.KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, msr=msr)
        request(self.fd, api.KVM_XEN_HVM_CONFIG, config)

    def create_vcpu(self, number: int) -> tuple[int, mmap.mmap]:
        """A vCPU's descriptor, and the page of its struct kvm_run."""
        fd = request(self.fd, api.KVM_CREATE_VCPU, number)
        return fd, mmap.mmap(fd, self._run_size)

    def add_slot(self, guest_address: int, size: int, host_address: int, flags: int = 0) -> int:
        """Put host memory at a guest-physical address where there is none; the slot's number."""
        if self._free_slots:
            slot = self._free_slots.pop()
        else:
            slot, self._next_slot = self._next_slot, self._next_slot + 1
        region = MemoryRegion(slot, flags, guest_address, size, host_address)
        try:
            request(self.fd, api.KVM_SET_USER_MEMORY_REGION, region)
        except OSError as error:
            raise EngineError(
                f"KVM takes no memory of {size:#x} bytes at {guest_address:#x}: {error.strerror}"
            ) from None
        return slot

    def remove_slot(self, slot: int) -> None:
        """Take a slot's memory away from the guest."""
        request(self.fd, api.KVM_SET_USER_MEMORY_REGION, MemoryRegion(slot))
        self._free_slots.append(slot)

    def close(self) -> None:
        """Let go of it; it ends with the last of its vCPUs."""
        os.close(self.fd)
