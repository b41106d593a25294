"""Loads the C code that runs PV vCPUs on KVM; what is KVM's own of its structures is that of engine_context.h."""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_uint32, c_uint64, c_void_p
from functools import cache

from xenolith.engine.pv_traps.structures import TrapContext, VcpuState, load_entry_points

TooManyChangesCallback = ctypes.CFUNCTYPE(None)

COUNTERS = (
    "entries",
    "system calls",
    "hypercalls",
    "page faults",
    "other traps",
    "rewritten entries",
)
"""What is counted, in the order of engine_context.h; returns by iret are hypercalls."""

REASON_ERRNO = 0x1000
"""What the run returns for an errno, less that."""


class KvmVcpuState(VcpuState):
    """struct vcpu with KVM's struct engine_vcpu."""

    _fields_ = (
        ("registers", c_uint64 * 17),
        ("rflags", c_uint64),
        ("run", c_void_p),
        ("trap_frame", c_void_p),
        ("flushed", c_uint32),
        ("fd", c_int32),
    )


class KvmTrapContext(TrapContext):
    """struct trap_context with KVM's struct engine_context."""

    _fields_ = (
        ("trap_stubs", c_uint64),
        ("call_stubs", c_uint64),
        ("on_too_many_changes", TooManyChangesCallback),
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
    library = load_entry_points(__file__, "_run", KvmTrapContext, KvmVcpuState)
    library.xenolith_kvm_pv_run.argtypes = [c_void_p]
    library.xenolith_kvm_host_cpuid.argtypes = [c_uint32, c_uint32, c_void_p]
    library.xenolith_kvm_host_cpuid.restype = None
    library.xenolith_kvm_host_xcr0.restype = c_uint64
    return library
