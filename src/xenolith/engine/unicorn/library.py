"""The Unicorn shared library of the PyPI wheel, through ctypes: its C API and the internals we need.

The Python binding of the wheel is not imported: it costs 60 ms at start and several microseconds a call.
The internals are functions that the library exports; cpu_layout.py verifies everything beyond that.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
from ctypes import CFUNCTYPE, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path

from xenolith.engine.hvm import EngineError
from xenolith.machine.native_code import load_beside

SUPPORTED_VERSION = "2.1.4"

ARCH_X86 = 4
MODE_64 = 1 << 3
CPU_X86_EPYC = 35
PROT_ALL = 7

HOOK_INTR = 1 << 0
HOOK_INSN = 1 << 1
HOOK_CODE = 1 << 2
HOOK_INSN_INVALID = 1 << 14
HOOK_MEM_UNMAPPED = 7 << 4
"""Reads, writes and fetches where nothing is mapped."""

RUN_ABORTED = -1
"""xenolith_run() of _hooks.c: the emulator has called abort()."""

UNMAPPED_ERRORS = (6, 7, 8)
"""UC_ERR_READ_UNMAPPED, _WRITE_UNMAPPED and _FETCH_UNMAPPED."""

EVERYWHERE = (1, 0)
"""The range of a hook that has none."""

INS_CPUID, INS_IN, INS_OUT, INS_SYSCALL, INS_SYSENTER = 113, 218, 500, 699, 700

CTL_USE_EXITS = 4 | 1 << 26 | 1 << 30
CTL_CPU_MODEL = 7 | 1 << 26 | 1 << 30
CTL_TB_REMOVE_CACHE = 9 | 2 << 26 | 1 << 30
CTL_TB_FLUSH = 10 | 1 << 30
CTL_TCG_BUFFER_SIZE = 13 | 1 << 26 | 1 << 30

ExitCallback = CFUNCTYPE(c_int, c_uint32)
CodeCallback = CFUNCTYPE(None, c_void_p, c_uint64, c_uint32, c_void_p)
InterruptCallback = CFUNCTYPE(None, c_void_p, c_uint32, c_void_p)
PortReadCallback = CFUNCTYPE(c_uint32, c_uint32, c_int)
PortWriteCallback = CFUNCTYPE(None, c_uint32, c_int, c_uint32)
UnmappedCallback = CFUNCTYPE(None, c_uint64)
MmioRead = CFUNCTYPE(c_uint64, c_void_p, c_uint64, c_uint32, c_void_p)
MmioWrite = CFUNCTYPE(None, c_void_p, c_uint64, c_uint32, c_uint64, c_void_p)


def _locate() -> Path:
    version = importlib.metadata.version("unicorn")
    if version != SUPPORTED_VERSION:
        raise EngineError(
            f"unicorn {version} is installed, but the engine is verified only for {SUPPORTED_VERSION}: "
            f"pip install unicorn=={SUPPORTED_VERSION}"
        )
    spec = importlib.util.find_spec("unicorn")
    if spec is None or spec.origin is None:
        raise EngineError("the unicorn package has no files: reinstall it with pip")
    return Path(spec.origin).parent / "lib" / "libunicorn.so.2"


class Library:
    """Typed entry points; names are those of the C API and of the library's exported internals."""

    def __init__(self) -> None:
        lib = ctypes.CDLL(str(_locate()))
        self._lib = lib
        self._strerror = lib.uc_strerror
        self._strerror.restype = c_char_p
        self.uc_ctl = lib.uc_ctl
        self.emu_start = self._function(
            "uc_emu_start", c_void_p, c_uint64, c_uint64, c_uint64, c_size_t
        )
        self.emu_stop = self._function("uc_emu_stop", c_void_p)
        self.context_alloc = self._function("uc_context_alloc", c_void_p, c_void_p)
        self.context_save = self._function("uc_context_save", c_void_p, c_void_p)
        self.context_restore = self._function("uc_context_restore", c_void_p, c_void_p)
        self.context_free = self._function("uc_context_free", c_void_p)
        self.mmio_map = self._function(
            "uc_mmio_map", c_void_p, c_uint64, c_uint64, MmioRead, c_void_p, MmioWrite, c_void_p
        )
        self.mem_map_ptr = self._function(
            "uc_mem_map_ptr", c_void_p, c_uint64, c_uint64, c_uint32, c_void_p
        )
        self.reg_write = self._function("uc_reg_write", c_void_p, c_int, c_void_p)
        self.reg_read = self._function("uc_reg_read", c_void_p, c_int, c_void_p)
        self.close = self._function("uc_close", c_void_p)
        self.get_cpu = self._function("qemu_get_cpu_x86_64", c_void_p, c_int, result=c_void_p)
        self.read_tsc = self._function("cpu_get_ticks_x86_64", result=c_uint64)
        self.tlb_flush = self._function("tlb_flush_x86_64", c_void_p, result=None)
        self.tlb_flush_page = self._function(
            "tlb_flush_page_x86_64", c_void_p, c_uint64, result=None
        )
        self.cpuid = self._function(
            "cpu_x86_cpuid_x86_64", c_void_p, c_uint32, c_uint32, *[c_void_p] * 4, result=None
        )
        self.invalidate_code = self._function(
            "tb_invalidate_phys_range_x86_64", c_void_p, c_uint64, c_uint64, result=None
        )
        self.ram_address = self._function(
            "qemu_ram_addr_from_host_x86_64", c_void_p, c_void_p, result=c_uint64
        )
        self.vmload = self._function("helper_vmload_x86_64", c_void_p, c_int, result=None)
        self.vmrun = self._function("helper_vmrun_x86_64", c_void_p, c_int, c_int, result=None)
        self.vmexit = self._function("do_vmexit_x86_64", c_void_p, c_uint32, c_uint64, result=None)
        self.read_eflags = self._function("helper_read_eflags_x86_64", c_void_p, result=c_uint64)
        self.write_eflags = self._function(
            "helper_write_eflags_x86_64", c_void_p, c_uint64, c_uint32, result=None
        )
        self.update_cr0 = self._function(
            "cpu_x86_update_cr0_x86_64", c_void_p, c_uint32, result=None
        )

    def _function(
        self, name: str, *arguments: type, result: type | None = c_int
    ) -> ctypes._NamedFuncPointer:
        try:
            function = getattr(self._lib, name)
        except AttributeError:
            raise EngineError(f"unicorn's library does not export {name}") from None
        function.argtypes = arguments
        function.restype = result
        return function  # type: ignore[no-any-return]

    def address(self, name: str) -> int:
        """The address of an exported function."""
        return ctypes.cast(getattr(self._lib, name), c_void_p).value or 0

    def open(self) -> c_void_p:
        """A new x86-64 machine whose CPU has AMD's SVM."""
        handle = c_void_p()
        self.check(self._lib.uc_open(ARCH_X86, MODE_64, ctypes.byref(handle)), "open a machine")
        self.check(self.uc_ctl(handle, CTL_CPU_MODEL, CPU_X86_EPYC), "choose the CPU model")
        # Without exit addresses emulation ends by emu_stop alone, wherever the guest may run.
        self.check(self.uc_ctl(handle, CTL_USE_EXITS, 1), "run without exit addresses")
        return handle

    def add_hook(
        self,
        handle: c_void_p,
        kind: int,
        callback: int,
        *instruction: int,
        context: int = 0,
        addresses: tuple[int, int] = EVERYWHERE,
    ) -> None:
        """Have the function at ``callback`` called for every event of a kind; the caller keeps it alive."""
        hook = c_void_p()
        self.check(
            self._lib.uc_hook_add(
                handle,
                ctypes.byref(hook),
                c_int(kind),
                c_void_p(callback),
                c_void_p(context),
                c_uint64(addresses[0]),
                c_uint64(addresses[1]),
                *map(c_int, instruction),
            ),
            "add a hook",
        )

    def check(self, error: int, what: str) -> None:
        """Raise EngineError if a call of the C API returned an error."""
        if error:
            raise EngineError(f"unicorn cannot {what}: {self._strerror(error).decode()}")


@cache
def load_hooks() -> ctypes.CDLL:
    """The C hooks beside this module."""
    hooks = load_beside(__file__, "_hooks", "the engine's C code", EngineError, ctypes.CDLL)
    hooks.xenolith_run.argtypes = [c_void_p, c_void_p, c_uint64, c_uint64]
    return hooks
