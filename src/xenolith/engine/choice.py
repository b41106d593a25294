"""Which engine a domain gets: the one that its configuration names, or else the environment, or else Unicorn.

Nothing above this package knows an engine but by its name.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from xenolith.engine.hvm import EngineError, HvmEngine
from xenolith.engine.kvm.api import JAIL_REQUESTS
from xenolith.engine.kvm.device import KvmDevice
from xenolith.engine.kvm.engine import KvmEngine
from xenolith.engine.kvm.figures import KvmFigures, measure
from xenolith.engine.kvm.pv.engine import KvmPvEngine
from xenolith.engine.kvm.pv.measure import measure_ring_3
from xenolith.engine.kvm.pv.traps import load_run
from xenolith.engine.pv import PvEngine
from xenolith.engine.unicorn.engine import UnicornEngine
from xenolith.engine.unicorn.machine import prepare_machine
from xenolith.engine.unicorn.pv.engine import UnicornPvEngine
from xenolith.engine.unicorn.pv.pauses import prepare_pauses
from xenolith.engine.unicorn.pv.traps import load_traps
from xenolith.machine.memory import MachineMemory

VARIABLE = "XENOLITH_ENGINE"


class EngineName(StrEnum):
    """What may be wished for."""

    AUTO = "auto"
    UNICORN = "unicorn"
    KVM = "kvm"


class VcpuKind(StrEnum):
    """What engines run."""

    HVM = "hvm"
    PV = "pv"


class Choice(NamedTuple):
    """An engine, and why it is that."""

    engine: EngineName
    why: str

    def __str__(self) -> str:
        return f"runs on {self.engine}: {self.why}"


class _Devices:
    """What this process has opened for its engine, or why it could not; and what has been measured."""

    kvm: KvmDevice | None = None
    failure: EngineError | None = None
    figures: KvmFigures | None = None
    """Those of :func:`report`, in the process that called it and all that it forks."""


def choose(wanted: EngineName, kind: VcpuKind) -> Choice:
    """The engine that a wish comes to; EngineError if the environment names none that exists."""
    if wanted is not EngineName.AUTO:
        return Choice(wanted, "the configuration says so")
    named = os.environ.get(VARIABLE) or EngineName.AUTO
    try:
        name = EngineName(named)
    except ValueError:
        raise EngineError(f"{VARIABLE}={named}: expected one of {', '.join(EngineName)}") from None
    if name is not EngineName.AUTO:
        return Choice(name, f"{VARIABLE} says so")
    figures = _Devices.figures
    if figures is None:
        return Choice(EngineName.UNICORN, "KVM was not measured, or cannot be used")
    if figures.suits_hvm if kind is VcpuKind.HVM else figures.suits_pv:
        return Choice(EngineName.KVM, f"it is faster on this host: {figures}")
    return Choice(EngineName.UNICORN, f"KVM would be slower on this host, or not run it: {figures}")


def resolve(wanted: EngineName, kind: VcpuKind = VcpuKind.HVM) -> EngineName:
    """:func:`choose` without the reason."""
    return choose(wanted, kind).engine


def open_devices(wanted: EngineName) -> Sequence[int]:
    """Open, in a process about to be jailed, what the engine will need; the ioctls it will make.

    A failure is told when the engine is made.
    """
    try:
        if all(resolve(wanted, kind) is not EngineName.KVM for kind in VcpuKind):
            return ()
        _Devices.kvm = KvmDevice.open()
    except EngineError as failure:
        _Devices.failure = failure
        return ()
    return JAIL_REQUESTS


def new_hvm_engine(
    frames: int, wanted: EngineName = EngineName.AUTO
) -> tuple[MachineMemory, HvmEngine]:
    """Memory of ``frames`` machine frames for a domain, and an engine for HVM vCPUs over it; EngineError."""
    memory = MachineMemory(frames)
    if resolve(wanted) is EngineName.KVM:
        return memory, KvmEngine(_kvm(), memory)
    return memory, UnicornEngine(memory)


def hvm_engine_maker(wanted: EngineName) -> Callable[[int], tuple[MachineMemory, HvmEngine]]:
    """:func:`new_hvm_engine` for one wish."""
    return lambda frames: new_hvm_engine(frames, wanted)


def new_pv_engine(
    frames: int, wanted: EngineName = EngineName.AUTO
) -> tuple[MachineMemory, PvEngine]:
    """As :func:`new_hvm_engine` for PV vCPUs."""
    memory = MachineMemory(frames)
    if resolve(wanted, VcpuKind.PV) is EngineName.KVM:
        device, figures = _kvm(), _Devices.figures
        ring_3 = measure_ring_3(device) if figures is None else figures.ring_3
        return memory, KvmPvEngine(device, memory, ring_3)
    return memory, UnicornPvEngine(memory)


def pv_engine_maker(wanted: EngineName) -> Callable[[int], tuple[MachineMemory, PvEngine]]:
    """:func:`new_pv_engine` for one wish."""
    return lambda frames: new_pv_engine(frames, wanted)


def report() -> str:
    """What domains get that leave the engine open, and what KVM is good for on this host, in one line.

    It takes some milliseconds, on the main thread.
    """
    try:
        _Devices.figures = measure(KvmDevice.open())
        told = f"kvm if asked for: {_Devices.figures}"
    except (EngineError, OSError) as failure:
        told = f"no kvm: {failure}"
    # What was measured with goes now, and not in some process that is forked from this one.
    gc.collect()
    try:
        return (
            ", ".join(f"{kind} {resolve(EngineName.AUTO, kind)}" for kind in VcpuKind) + f"; {told}"
        )
    except EngineError as failure:
        return f"{failure}; {told}"


def prepare_engines() -> None:
    """Load and verify what domain processes, forked from this one, would otherwise load each."""
    prepare_machine()
    load_traps()
    prepare_pauses()
    load_run()


def _kvm() -> KvmDevice:
    if _Devices.failure is not None:
        raise _Devices.failure
    if _Devices.kvm is None:
        _Devices.kvm = KvmDevice.open()
    return _Devices.kvm
