"""The Unicorn engine: HVM vCPUs on an emulated AMD processor with SVM and nested paging.

A vCPU is entered once by VMRUN; from then on its exits are handled in place, in guest mode, by the hook that
the emulator calls for a #VMEXIT. That keeps the software TLB, which a world switch would flush: a hypercall costs
a tenth of one that leaves guest mode. vCPUs take turns by swapping the CPU's whole register context.
"""

from __future__ import annotations

import ctypes
from ctypes import c_void_p
from functools import cache

from xenolith.engine.hvm import EngineError, ExitHandler, GuestException, MmioHandler
from xenolith.engine.unicorn.cpu_layout import find_layout
from xenolith.engine.unicorn.hooks import RAISE, RESUME, install_hooks
from xenolith.engine.unicorn.host_mode import enter_host_mode
from xenolith.engine.unicorn.library import (
    CTL_TCG_BUFFER_SIZE,
    PROT_ALL,
    Library,
    MmioRead,
    MmioWrite,
    load_hooks,
)
from xenolith.engine.unicorn.nested_paging import NestedPageTable
from xenolith.engine.unicorn.private_memory import PrivateMemory
from xenolith.engine.unicorn.registers import UnicornRegisters
from xenolith.engine.unicorn.vcpu import UnicornVcpu
from xenolith.engine.unicorn.vmcb import (
    MSR_MAP_BYTES,
    Vmcb,
    msr_permission_map,
)
from xenolith.machine import tsc
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, Gfn, GuestPhys, Mfn
from xenolith.machine.memory import MachineMemory

_MMIO_BASE = (1 << 40) - (1 << 30)
"""The last GiB of the 40-bit addresses that the emulated CPU has; a domain's memory ends below."""

_CODE_BUFFER_BYTES = 64 << 20


@cache
def _load() -> Library:
    return Library()


def prepare() -> None:
    """Load the library, verify its layout, and take a first look at the TSC. Forks keep all of it."""
    library = _load()
    find_layout(library)
    load_hooks()
    tsc.frequency(library.read_tsc)


class UnicornEngine:
    """One domain's engine, over its memory; all of it but :meth:`kick` belongs to one thread.

    The memory has to have PRIVATE_FRAMES for the engine.
    """

    def __init__(self, memory: MachineMemory) -> None:
        self._library = lib = _load()
        layout = find_layout(lib)
        self._memory = memory
        self._handle = lib.open()
        lib.check(
            lib.uc_ctl(self._handle, CTL_TCG_BUFFER_SIZE, _CODE_BUFFER_BYTES), "size its buffer"
        )
        if memory.mapped_size > _MMIO_BASE:
            raise EngineError("a domain of the unicorn engine has less than 1 TiB of memory")
        # The map lives as long as this engine, which close() ends before it goes. It is the first region: code
        # translated from it is known by its offset.
        lib.check(
            lib.mem_map_ptr(self._handle, 0, memory.mapped_size, PROT_ALL, memory.address),
            "map memory",
        )
        private = PrivateMemory(memory)
        self._private = private
        # Verified offset: requests to stop are then honoured between translation blocks only.
        ctypes.c_uint8.from_address((self._handle.value or 0) + layout.no_exit_request).value = 1

        self._cpu: int = lib.get_cpu(self._handle, -1)
        self._env = self._cpu + layout.env
        self.registers = UnicornRegisters(self._env, layout, lib.read_eflags)
        request = (ctypes.c_uint32 * 1).from_address(self._cpu + layout.interrupt_request)
        self.interrupt_request = memoryview(request).cast("B").cast("I")
        self._context = install_hooks(lib, self._handle, self._cpu, layout, self)

        self._nested = NestedPageTable(private.allocate)
        self._msr_map, bits = private.allocate(MSR_MAP_BYTES)
        bits[:] = msr_permission_map()
        self._entry_stub = enter_host_mode(lib, self._handle, private)
        self._host_context = self._save_context()
        self._current: UnicornVcpu | None = None
        self._failure: BaseException | None = None
        self._callbacks: list[object] = []
        self._mmio_pages = 0
        self._void = self._new_mmio_page(_Void())
        self._pause_intercepted = False
        self._vcpus: list[UnicornVcpu] = []

    def new_vcpu(self, handler: ExitHandler) -> UnicornVcpu:
        """A vCPU with a control block of its own."""
        address, view = self._private.allocate()
        vmcb = Vmcb(view)
        vmcb.configure(self._msr_map, self._nested.root)
        vcpu = UnicornVcpu(self, handler, vmcb, address)
        if self._pause_intercepted:
            vmcb.intercept_pause()
        self._vcpus.append(vcpu)
        return vcpu

    def map(self, gfn: Gfn, mfn: Mfn, count: int = 1) -> None:
        """See HvmEngine."""
        self._nested.map(gfn << PAGE_SHIFT, mfn << PAGE_SHIFT, count << PAGE_SHIFT)
        self._library.tlb_flush(self._cpu)

    def map_readonly(self, gfn: Gfn, mfn: Mfn) -> None:
        """See HvmEngine."""
        self._nested.map_readonly(gfn << PAGE_SHIFT, mfn << PAGE_SHIFT)
        self._library.tlb_flush(self._cpu)

    def unmap(self, gfn: Gfn, count: int = 1) -> None:
        """See HvmEngine."""
        self._nested.unmap(gfn << PAGE_SHIFT, count << PAGE_SHIFT)
        self._library.tlb_flush(self._cpu)

    def map_mmio(self, address: GuestPhys, handler: MmioHandler) -> None:
        """See HvmEngine."""
        self._nested.map(address, self._new_mmio_page(handler), PAGE_SIZE)
        self._library.tlb_flush(self._cpu)

    def map_void(self, address: int) -> None:
        """Put a page that reads as all ones where the guest touched nothing."""
        self._nested.map(address & -PAGE_SIZE, self._void, PAGE_SIZE)

    def run(self, vcpu: UnicornVcpu) -> None:
        """Run one of the engine's own vCPUs."""
        self._load(vcpu)
        vcpu.offer()
        library = self._library
        library.check(library.emu_start(self._handle, self.registers.rip, 0, 0, 0), "run the guest")
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        vcpu.collect()

    def stop(self) -> None:
        """See HvmEngine."""
        self._library.emu_stop(self._handle)

    kick = stop

    def intercept_pause(self) -> None:
        """See HvmEngine; call it before the first vCPU runs."""
        self._pause_intercepted = True
        for vcpu in self._vcpus:
            vcpu.vmcb.intercept_pause()

    def invalidate_code(self, mfn: Mfn, count: int) -> None:
        """See HvmEngine."""
        start = mfn << PAGE_SHIFT
        self._library.invalidate_code(self._handle, start, start + (count << PAGE_SHIFT))

    def tsc(self) -> int:
        """See HvmEngine."""
        value: int = self._library.read_tsc()
        return value

    def base_cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """See HvmEngine."""
        out = (ctypes.c_uint32 * 4)()
        addresses = [ctypes.addressof(out) + 4 * index for index in range(4)]
        self._library.cpuid(self._env, leaf, subleaf, *addresses)
        return out[0], out[1], out[2], out[3]

    def close(self) -> None:
        """Release the emulator; neither the engine nor its vCPUs may be used afterwards."""
        self._library.close(self._handle)

    def on_exit(self, code: int) -> int:
        """HookSink: handle one #VMEXIT in place."""
        vcpu = self._current
        assert vcpu is not None
        try:
            vcpu.exit(code)
        except GuestException as fault:
            self._context.raise_vector = fault.vector
            self._context.raise_error_code = fault.error_code
            return RAISE
        except BaseException as failure:
            self._failure = failure
            self.stop()
        return RESUME

    def on_port_read(self, port: int, size: int) -> int:
        """HookSink: IN, in the middle of a translation block."""
        assert self._current is not None
        try:
            return self._current.read_port(port, size)
        except BaseException as failure:
            self._failure = failure
            self.stop()
            return 0

    def on_port_write(self, port: int, size: int, value: int) -> None:
        """HookSink: OUT, in the middle of a translation block."""
        assert self._current is not None
        try:
            self._current.write_port(port, size, value)
        except BaseException as failure:
            self._failure = failure
        # The write may have made an interrupt due: run() offers it when it enters again.
        self.stop()

    def _load(self, vcpu: UnicornVcpu) -> None:
        """Make a vCPU the one whose registers the CPU holds."""
        if self._current is vcpu and not vcpu.initial:
            return
        if self._current is not None and self._current is not vcpu:
            self._library.context_save(self._handle, self._current.context)
        self._current = vcpu
        if vcpu.initial is None:
            self._library.context_restore(self._handle, vcpu.context)
        else:
            self._library.context_restore(self._handle, self._host_context)
            vcpu.enter_from(self._entry_stub)
        self._library.tlb_flush(self._cpu)

    def new_context(self) -> c_void_p:
        """Space for a vCPU's registers, FPU state included."""
        context = c_void_p()
        self._library.check(
            self._library.context_alloc(self._handle, ctypes.byref(context)), "allocate a context"
        )
        return context

    def _save_context(self) -> c_void_p:
        context = self.new_context()
        self._library.context_save(self._handle, context)
        return context

    def _new_mmio_page(self, handler: MmioHandler) -> int:
        """A page of the emulated machine whose loads and stores call the handler."""

        def read(_machine: int, offset: int, size: int, _data: int) -> int:
            try:
                return handler.read(offset, size)
            except Exception as failure:
                self._failure = failure
                self.stop()
                return 0

        def write(_machine: int, offset: int, size: int, value: int, _data: int) -> None:
            try:
                handler.write(offset, size, value)
            except Exception as failure:
                self._failure = failure
            # The store may have made an interrupt due: run() offers it when it enters again.
            self.stop()

        callbacks = MmioRead(read), MmioWrite(write)
        self._callbacks.append(callbacks)
        address = _MMIO_BASE + self._mmio_pages * PAGE_SIZE
        self._mmio_pages += 1
        self._library.check(
            self._library.mmio_map(
                self._handle, address, PAGE_SIZE, callbacks[0], None, callbacks[1], None
            ),
            "map device registers",
        )
        return address


class _Void:
    """What real hardware answers where nothing is: all ones, and stores go nowhere."""

    def read(self, _offset: int, size: int) -> int:
        return (1 << 8 * size) - 1

    def write(self, _offset: int, _size: int, _value: int) -> None:
        pass
