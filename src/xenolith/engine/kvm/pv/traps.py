"""Loads the C code that runs PV vCPUs on KVM; the structures are those of trap_context.h."""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_int32, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from functools import cache

from xenolith.engine.hvm import EngineError
from xenolith.machine.native_code import Sizes, load_beside

HypercallCallback = ctypes.CFUNCTYPE(None)
FaultCallback = ctypes.CFUNCTYPE(c_int, c_uint32, c_uint32, c_uint64)
CrashCallback = ctypes.CFUNCTYPE(None, c_uint32, c_uint64)
TooManyChangesCallback = ctypes.CFUNCTYPE(None)

CRASHES = {
    1: "its kernel's stack at {:#x} cannot be written",
    2: "a trap at {:#x} has no handler",
    3: "its kernel's frame for iret at {:#x} cannot be read",
    4: "its kernel returns to user mode at {:#x} without a user page table",
    5: "ring 0 has faulted, which has no business with {:#x}",
}
"""Why a domain crashes, by the numbers of trap_context.h."""

COUNTERS = (
    "entries",
    "system calls",
    "hypercalls",
    "page faults",
    "other traps",
    "rewritten entries",
)
"""What is counted, in the order of trap_context.h; returns by iret are hypercalls."""

REASON_ERRNO = 0x1000
"""What the run returns for an errno, less that."""


class Gate(ctypes.Structure):
    """struct gate."""

    _fields_ = (
        ("address", c_uint64),
        ("selector", c_uint16),
        ("dpl", c_uint8),
        ("masks_events", c_uint8),
    )


class VcpuState(ctypes.Structure):
    """struct vcpu."""

    _fields_ = (
        ("traps", Gate * 256),
        ("callbacks", Gate * 8),
        ("registers", c_uint64 * 17),
        ("rflags", c_uint64),
        ("kernel_sp", c_uint64),
        ("roots", c_uint64 * 2),
        ("other_gs_base", c_uint64),
        ("info", c_void_p),
        ("gdt", c_uint64 * 16),
        ("ldt", c_uint64 * 16),
        ("run", c_void_p),
        ("trap_frame", c_void_p),
        ("ldt_limit", c_uint32),
        ("in_kernel", c_uint32),
        ("flushed", c_uint32),
        ("nmi_pending", c_uint32),
        ("nmi_masked", c_uint32),
        ("fd", c_int32),
    )


class TrapContext(ctypes.Structure):
    """struct trap_context."""

    _fields_ = (
        ("memory", c_void_p),
        ("memory_size", c_uint64),
        ("private_memory", c_void_p),
        ("private_base", c_uint64),
        ("private_size", c_uint64),
        ("trap_stubs", c_uint64),
        ("call_stubs", c_uint64),
        ("on_hypercall", HypercallCallback),
        ("on_fault", FaultCallback),
        ("on_crash", CrashCallback),
        ("on_too_many_changes", TooManyChangesCallback),
        ("vcpu", c_void_p),
        ("native_self", c_void_p),
        ("native_hypercall", c_void_p),
        ("native_store", c_void_p),
        ("changes", c_void_p),
        ("rewriting", c_void_p),
        ("rewriting_address", c_uint64),
        ("rewriting_size", c_uint64),
        ("all_memory", c_uint64),
        ("counts", c_uint64 * len(COUNTERS)),
        ("stopping", c_uint32),
        ("moves_rip", c_uint32),
        ("flushes", c_uint32),
    )


@cache
def load_run() -> ctypes.CDLL:
    """The C code beside this module."""
    library = load_beside(
        __file__,
        "_run",
        "the engine's C code",
        EngineError,
        ctypes.CDLL,
        Sizes("xenolith_kvm_pv_sizes", ctypes.sizeof(TrapContext) << 32 | ctypes.sizeof(VcpuState)),
    )
    library.xenolith_kvm_pv_run.argtypes = [c_void_p]
    library.xenolith_kvm_pv_inject.argtypes = [c_void_p, c_uint32, c_uint32]
    library.xenolith_kvm_pv_start.argtypes = [c_void_p, c_uint32, c_uint32]
    library.xenolith_kvm_pv_load_data_segment.argtypes = [c_void_p, c_void_p, c_uint32]
    library.xenolith_kvm_pv_fail_safe.argtypes = [c_void_p, *[c_uint64] * 4]
    library.xenolith_kvm_pv_fail_safe.restype = None
    library.xenolith_kvm_pv_reload_data_segments.argtypes = [c_void_p]
    library.xenolith_kvm_pv_reload_data_segments.restype = None
    library.xenolith_kvm_host_cpuid.argtypes = [c_uint32, c_uint32, c_void_p]
    library.xenolith_kvm_host_cpuid.restype = None
    library.xenolith_kvm_host_xcr0.restype = c_uint64
    return library
