"""The Unicorn engine: HVM vCPUs on an emulated AMD processor with SVM and nested paging.

A vCPU is entered once by VMRUN; from then on its exits are handled in place, in guest mode, by the hook that
the emulator calls for a #VMEXIT. That keeps the software TLB, which a world switch would flush: a hypercall costs
a tenth of one that leaves guest mode. vCPUs take turns by swapping the CPU's whole register context.
"""

from __future__ import annotations

import ctypes
from ctypes import c_void_p

from xenolith.engine.hvm import EngineError, ExitHandler, GuestException, MmioHandler
from xenolith.engine.unicorn.address_space import AddressSpace
from xenolith.engine.unicorn.hooks import DELIVER, RAISE, RESUME, install_hooks, watch_unmapped
from xenolith.engine.unicorn.library import UNMAPPED_ERRORS
from xenolith.engine.unicorn.machine import EmulatedMachine
from xenolith.engine.unicorn.mmio import MmioPages, Void
from xenolith.engine.unicorn.private_memory import PrivateMemory
from xenolith.engine.unicorn.string_store import finish_string_store
from xenolith.engine.unicorn.vcpu import Redelivery, UnicornVcpu
from xenolith.engine.unicorn.vmcb import MSR_MAP_BYTES, Vmcb, msr_permission_map
from xenolith.engine.unicorn.world_switch import WorldSwitch
from xenolith.machine.address import Gfn, GuestPhys, Mfn
from xenolith.machine.memory import MachineMemory

_PRIVATE_BASE = 1 << 41
"""Beyond the 40-bit addresses that the emulated CPU has: for itself, but not for a guest's page tables."""

_PRIVATE_BYTES = 4 << 20
_STARTING_SLICE_US = 3000


class UnicornEngine:
    """One domain's engine, over its memory; all of it but :meth:`kick` belongs to one thread."""

    hypercall_instruction = b"\x0f\x01\xd9"
    """VMMCALL."""

    def __init__(self, memory: MachineMemory) -> None:
        self._machine = machine = EmulatedMachine()
        self._failure: BaseException | None = None
        self._void = Void()
        devices = MmioPages(machine.library, self._fail, self.stop)
        self._space = AddressSpace(machine, memory, devices, self._filter)
        self._private = private = PrivateMemory(_PRIVATE_BASE, _PRIVATE_BYTES)
        # The map lives as long as this object, and the emulator ends before, in close().
        machine.add_memory(_PRIVATE_BASE, _PRIVATE_BYTES, private.host_address)
        machine.start_up()
        self.registers = machine.registers
        # One word of the CPU's own memory, which the machine keeps until close().
        request = (ctypes.c_uint32 * 1).from_address(machine.cpu + machine.layout.interrupt_request)
        self.interrupt_request = memoryview(request).cast("B").cast("I")
        self._context = install_hooks(machine, self)

        self._msr_map, bits = private.allocate(MSR_MAP_BYTES)
        bits[:] = msr_permission_map()
        self.world = WorldSwitch(machine, private)
        self._host_context = machine.new_context()
        machine.save(self._host_context)
        self._current: UnicornVcpu | None = None
        self._pause_intercepted = False
        self._gaps_watched = False
        self.starting = True
        """Whether no hypercall has been made yet: runs are then cut into slices."""
        self.stopping = False
        """Whether the run is to end: nothing is offered to the guest any more."""
        self._nested_root = 0
        self._vcpus: list[UnicornVcpu] = []

    def new_vcpu(self, handler: ExitHandler) -> UnicornVcpu:
        """A vCPU with a control block of its own."""
        address, view = self._private.allocate()
        vmcb = Vmcb(view)
        vmcb.configure(self._msr_map)
        if self._nested_root:
            vmcb.use_nested_paging(self._nested_root)
        vcpu = UnicornVcpu(self, handler, vmcb, address)
        if self._pause_intercepted:
            vmcb.intercept_pause()
        self._vcpus.append(vcpu)
        return vcpu

    def map(self, gfn: Gfn, mfn: Mfn, count: int = 1) -> None:
        """See HvmEngine."""
        self._space.map(gfn, mfn, count)
        self._machine.flush_tlb()

    def map_readonly(self, gfn: Gfn, mfn: Mfn) -> None:
        """See HvmEngine."""
        self._space.map_readonly(gfn, mfn)
        self._machine.flush_tlb()

    def unmap(self, gfn: Gfn, count: int = 1) -> None:
        """See HvmEngine."""
        self._space.unmap(gfn, count)
        self._machine.flush_tlb()

    def map_mmio(self, address: GuestPhys, handler: MmioHandler) -> None:
        """See HvmEngine."""
        self._space.map_device(address, handler)

    def map_void(self, address: int) -> None:
        """Put a page that reads as all ones where there is nothing."""
        self._space.map_void(address, self._void)
        self._machine.flush_tlb()

    def run(self, vcpu: UnicornVcpu) -> None:
        """Run one of the engine's own vCPUs."""
        if not self._gaps_watched:
            self._watch_gaps()
        self._load(vcpu)
        self.stopping = False
        vcpu.offer()
        timeout = _STARTING_SLICE_US if self.starting else 0
        error = self._machine.run(timeout)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        context = self._context
        if context.undeliverable:
            raise EngineError("unicorn cannot deliver an exception: the guest's tables are nowhere")
        if error not in UNMAPPED_ERRORS[:2]:
            self._machine.check_run(error)
        elif context.unmapped:
            # The access is made again when the vCPU runs again.
            context.unmapped = context.delivering = 0
            self.map_void(context.unmapped_address)
        if timeout:
            finish_string_store(self.registers, self._space)

    def stop(self) -> None:
        """See HvmEngine."""
        self.stopping = True
        self._machine.stop()

    kick = stop

    def intercept_pause(self) -> None:
        """See HvmEngine; call it before the first vCPU runs."""
        self._pause_intercepted = True
        for vcpu in self._vcpus:
            vcpu.vmcb.intercept_pause()

    def invalidate_code(self, gfn: Gfn, count: int) -> None:
        """See HvmEngine."""
        self._space.invalidate_code(gfn, count)

    def tsc(self) -> int:
        """See HvmEngine."""
        return self._machine.tsc()

    def base_cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """See HvmEngine."""
        return self._machine.cpuid(leaf, subleaf)

    def forget_code(self) -> None:
        """See Engine."""
        self._machine.forget_code()

    def close(self) -> None:
        """Release the emulator; neither the engine nor its vCPUs may be used afterwards."""
        self._machine.close()
        self._space.close()

    def on_exit(self, code: int) -> int:
        """HookSink: handle one #VMEXIT in place."""
        vcpu = self._current
        assert vcpu is not None
        context = self._context
        try:
            vector = vcpu.exit(code)
        except GuestException as fault:
            context.event_vector, context.event_error_code = fault.vector, fault.error_code
            context.event_is_software = 0
            return RAISE
        except Redelivery as event:
            context.event_vector, context.event_error_code = event.vector, event.error_code
            context.event_is_software = event.software
            return RAISE
        except BaseException as failure:
            self._fail(failure)
            return RESUME
        if vector is None:
            return RESUME
        context.event_vector = vector
        return DELIVER

    def on_unmapped(self, address: int) -> None:
        """HookSink: the tables by which an event is delivered are where nothing is."""
        assert self._current is not None
        try:
            self.map_void(address)
            if self._current.enter_again:
                self.follow_filter()
        except BaseException as failure:
            self._fail(failure)

    @property
    def was_interrupting(self) -> bool:
        """In an exit: whether it came in the middle of the delivery of an interrupt or NMI."""
        return bool(self._context.delivering and self._context.interrupting)

    def on_port_read(self, port: int, size: int) -> int:
        """HookSink: IN, in the middle of a translation block."""
        assert self._current is not None
        try:
            return self._current.read_port(port, size)
        except BaseException as failure:
            self._fail(failure)
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

    def _watch_gaps(self) -> None:
        """Hear of accesses beside RAM, now that it is known where RAM is."""
        self._gaps_watched = True
        for gap in self._space.gaps():
            watch_unmapped(self._machine, self._context, gap)

    def _load(self, vcpu: UnicornVcpu) -> None:
        """Make a vCPU the one whose registers the CPU holds."""
        current = self._current
        if current is vcpu and vcpu.initial is None and not vcpu.enter_again:
            return
        if current is not None and current is not vcpu:
            self._machine.save(current.context)
        self._current = vcpu
        if vcpu.initial is not None:
            self._machine.restore(self._host_context)
            vcpu.enter()
        elif current is not vcpu:
            self._machine.restore(vcpu.context)
        if vcpu.enter_again:
            vcpu.follow_filter()
        self._machine.flush_tlb()

    def flush_tlb(self) -> None:
        """In the middle of an exit: forget all translations of addresses."""
        self._machine.flush_tlb()

    def allow_cr4(self, valid: int) -> None:
        """Have the hooks let no other bits of CR4 be set; the vCPUs of a domain are all alike."""
        self._context.valid_cr4 = valid

    def follow_filter(self) -> None:
        """In the middle of an exit: go on behind the nested page table that has come in."""
        assert self._current is not None
        self._current.follow_filter()
        self._machine.flush_tlb()

    def _filter(self, nested_root: int) -> None:
        """Have every vCPU run behind a nested page table from now on."""
        self._nested_root = nested_root
        for vcpu in self._vcpus:
            vcpu.vmcb.use_nested_paging(nested_root)
            vcpu.enter_again = vcpu.initial is None

    def _fail(self, failure: BaseException) -> None:
        """Make :meth:`run` raise what a callback of the emulator must not."""
        self._failure = failure
        self.stop()

    def new_context(self) -> c_void_p:
        """Space for a vCPU's registers, FPU state included."""
        return self._machine.new_context()
