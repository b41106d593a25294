"""Brings the emulated CPU into the state of a hypervisor about to VMRUN: long mode, SVM on, a stub to run."""

from __future__ import annotations

import ctypes
from ctypes import c_void_p

from xenolith.engine.unicorn.cpu_layout import write_msr
from xenolith.engine.unicorn.library import Library
from xenolith.engine.unicorn.private_memory import PrivateMemory

_REG_CR0, _REG_CR3, _REG_CR4 = 50, 53, 54
_CR0_PG_WP_NE_ET_MP_PE = 0x80010033
_CR4_PAE_FXSR = 0x620
_EFER_SVME_LMA_LME_SCE = 0x1501
_MSR_EFER = 0xC0000080
_MSR_VM_HSAVE_PA = 0xC0010117
_TABLE = 3
_LARGE_PAGE = 0x83
_ENTRY_STUB = b"\x0f\x01\xda\x0f\x01\xd8"
"""vmload rax; vmrun rax."""


def enter_host_mode(library: Library, handle: c_void_p, private: PrivateMemory) -> int:
    """Set the CPU up and return the address of the stub, which enters the VMCB at RAX."""
    host_save, _ = private.allocate()
    stub, code = private.allocate()
    code[: len(_ENTRY_STUB)] = _ENTRY_STUB
    root, level4 = private.allocate()
    table, level3 = private.allocate()
    # An identity map of the GiB that holds the stub is all that it needs.
    level4.cast("Q")[stub >> 39 & 511] = table | _TABLE
    level3.cast("Q")[stub >> 30 & 511] = stub & -(1 << 30) | _LARGE_PAGE

    write_msr(library, handle, _MSR_EFER, _EFER_SVME_LMA_LME_SCE)
    write_msr(library, handle, _MSR_VM_HSAVE_PA, host_save)
    for register, value in (
        (_REG_CR4, _CR4_PAE_FXSR),
        (_REG_CR3, root),
        (_REG_CR0, _CR0_PG_WP_NE_ET_MP_PE),
    ):
        word = ctypes.c_uint64(value)
        library.check(library.reg_write(handle, register, ctypes.byref(word)), "enter long mode")
    return stub
