"""What Python and the C code of both engines share: the structures of trap_context.h, and what it is called by.

An engine's own part of a structure, its struct engine_vcpu or engine_context, follows as the fields of a subclass.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from typing import Any, ClassVar

from xenolith.engine.hvm import EngineError
from xenolith.engine.pv_traps.numbers import TABLE_PAGES
from xenolith.machine.native_code import Sizes, load_beside

HypercallCallback = ctypes.CFUNCTYPE(None)
FaultCallback = ctypes.CFUNCTYPE(c_int, c_uint32, c_uint32, c_uint64)
CrashCallback = ctypes.CFUNCTYPE(None, c_uint32, c_uint64)

_Fields = Sequence[tuple[str, type[Any]]]


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

    _fields_: ClassVar[_Fields] = (
        ("traps", Gate * 256),
        ("callbacks", Gate * 8),
        ("kernel_sp", c_uint64),
        ("roots", c_uint64 * 2),
        ("other_gs_base", c_uint64),
        ("info", c_void_p),
        ("gdt", c_uint64 * TABLE_PAGES),
        ("ldt", c_uint64 * TABLE_PAGES),
        ("ldt_limit", c_uint32),
        ("in_kernel", c_uint32),
        ("nmi_pending", c_uint32),
        ("nmi_masked", c_uint32),
    )


class TrapContext(ctypes.Structure):
    """struct trap_context."""

    _fields_: ClassVar[_Fields] = (
        ("memory", c_void_p),
        ("memory_size", c_uint64),
        ("private_memory", c_void_p),
        ("private_base", c_uint64),
        ("private_size", c_uint64),
        ("on_hypercall", HypercallCallback),
        ("on_fault", FaultCallback),
        ("on_crash", CrashCallback),
        ("vcpu", c_void_p),
        ("native_self", c_void_p),
        ("native_hypercall", c_void_p),
        ("native_store", c_void_p),
    )


def load_entry_points(
    module: str, name: str, context: type[TrapContext], vcpu: type[VcpuState]
) -> ctypes.CDLL:
    """An engine's C code beside its file ``module``, built for its structures; EngineError.

    It has the functions of entry_points.h, and others of its own.
    """
    library = load_beside(
        module,
        name,
        "the engine's C code",
        EngineError,
        ctypes.CDLL,
        Sizes("xenolith_pv_sizes", ctypes.sizeof(context) << 32 | ctypes.sizeof(vcpu)),
    )
    library.xenolith_pv_inject.argtypes = [c_void_p, c_uint32, c_uint32]
    library.xenolith_pv_load_data_segment.argtypes = [c_void_p, c_int, c_uint32]
    library.xenolith_pv_fail_safe.argtypes = [c_void_p, *[c_uint64] * 4]
    library.xenolith_pv_fail_safe.restype = None
    library.xenolith_pv_reload_data_segments.argtypes = [c_void_p]
    library.xenolith_pv_reload_data_segments.restype = None
    library.xenolith_pv_start.argtypes = [c_void_p, c_uint32, c_uint32]
    return library
