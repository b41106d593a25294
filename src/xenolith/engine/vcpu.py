"""What the seams for HVM and PV vCPUs have in common: all that scheduling and hypercalls need of an engine."""

from __future__ import annotations

from typing import Protocol


class HypercallRegisters(Protocol):
    """The registers by which a hypercall comes and goes."""

    rax: int
    rdi: int
    rsi: int
    rdx: int
    r10: int
    r8: int


class EngineVcpu(Protocol):
    """A vCPU's share of an engine."""

    def run(self) -> None:
        """Run the guest until the engine's ``stop`` or ``kick``; EngineError if it cannot go on."""

    def repeat_hypercall(self) -> None:
        """From its handler: make the guest execute the hypercall instruction again."""

    def inject_nmi(self) -> None:
        """Deliver an NMI as soon as the guest can take one."""


class Engine(Protocol):
    """A domain's engine."""

    def stop(self) -> None:
        """From the handler of an exit: make :meth:`EngineVcpu.run` return after it."""

    def kick(self) -> None:
        """From any thread: make :meth:`EngineVcpu.run` return soon. Harmless when nothing runs."""

    def forget_code(self) -> None:
        """Give back the memory of what can be made anew, while no vCPU runs: the domain is idle."""

    def tsc(self) -> int:
        """The time stamp counter as the guest reads it."""

    def base_cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """What the engine's processor can do, before the hypervisor's policy."""

    def close(self) -> None:
        """Release the engine."""
