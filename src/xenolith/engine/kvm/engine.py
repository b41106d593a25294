"""The KVM engine for HVM vCPUs: guests run on the host's processor, and their exits come from the kernel.

The vCPUs of a domain take turns on its hypervisor thread, as on every engine.
"""

from __future__ import annotations

from xenolith.engine.hvm import ExitHandler, MmioHandler
from xenolith.engine.kvm.address_space import AddressSpace
from xenolith.engine.kvm.device import KvmDevice
from xenolith.engine.kvm.host_tsc import tsc_reader
from xenolith.engine.kvm.kick import Kicker, take_kicks
from xenolith.engine.kvm.processor import DIRECT_MSRS
from xenolith.engine.kvm.vcpu import HYPERCALL_INSTRUCTION, KvmVcpu
from xenolith.machine.address import Gfn, GuestPhys, Mfn
from xenolith.machine.memory import MachineMemory

_HYPERCALL_MSR = 0x40000000
"""Any of Xen's range: its writes come to the hypervisor first."""


class KvmEngine:
    """One domain's engine, over its memory; all of it but :meth:`kick` belongs to one thread."""

    hypercall_instruction = HYPERCALL_INSTRUCTION

    def __init__(self, device: KvmDevice, memory: MachineMemory) -> None:
        self.machine = device.create_machine()
        self.machine.report_msrs(DIRECT_MSRS)
        if device.has_xen:
            self.machine.intercept_hypercalls(_HYPERCALL_MSR)
        self.space = AddressSpace(self.machine, memory)
        self.stopping = False
        """Whether the run is to end."""
        self._kicker = Kicker()
        self._current: KvmVcpu | None = None
        self._vcpus: list[KvmVcpu] = []
        self._read_tsc = tsc_reader()
        take_kicks()

    def new_vcpu(self, handler: ExitHandler) -> KvmVcpu:
        """See HvmEngine."""
        vcpu = KvmVcpu(self, handler, len(self._vcpus))
        self._vcpus.append(vcpu)
        return vcpu

    def map(self, gfn: Gfn, mfn: Mfn, count: int = 1) -> None:
        """See HvmEngine."""
        self.space.map(gfn, mfn, count)

    def map_readonly(self, gfn: Gfn, mfn: Mfn) -> None:
        """See HvmEngine."""
        self.space.map_readonly(gfn, mfn)

    def unmap(self, gfn: Gfn, count: int = 1) -> None:
        """See HvmEngine."""
        self.space.unmap(gfn, count)

    def map_mmio(self, address: GuestPhys, handler: MmioHandler) -> None:
        """See HvmEngine."""
        self.space.map_device(address, handler)

    def begin(self, vcpu: KvmVcpu) -> None:
        """A vCPU is about to run on this thread."""
        vcpu.run_page.immediate_exit = 0
        self.stopping = False
        self._current = vcpu
        self._kicker.enter()

    def end(self) -> None:
        """It has come back."""
        self._kicker.leave()

    def stop(self) -> None:
        """See HvmEngine."""
        self.stopping = True

    def kick(self) -> None:
        """See HvmEngine."""
        self.stopping = True
        vcpu = self._current
        if vcpu is not None:
            vcpu.run_page.immediate_exit = 1
        self._kicker.kick()

    def intercept_pause(self) -> None:
        """See HvmEngine: KVM notices spinning itself, but tells nobody."""

    def invalidate_code(self, gfn: Gfn, count: int) -> None:
        """See HvmEngine: processors follow changes of code."""

    def forget_code(self) -> None:
        """See Engine: there is nothing to forget."""

    def tsc(self) -> int:
        """See HvmEngine."""
        return self._read_tsc()

    def base_cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """See HvmEngine."""
        return self.machine.device.supported_cpuid.get((leaf, subleaf), (0, 0, 0, 0))

    def close(self) -> None:
        """Release the machine; neither the engine nor its vCPUs may be used afterwards."""
        self._current = None
        for vcpu in self._vcpus:
            vcpu.processor.close()
        self.machine.close()
        self.space.close()
