"""Which engine a domain gets: the one that its configuration names, or else the environment, or else Unicorn.

Nothing above this package knows an engine but by its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from enum import StrEnum

from xenolith.engine.hvm import EngineError, HvmEngine
from xenolith.engine.kvm.api import JAIL_REQUESTS
from xenolith.engine.kvm.device import KvmDevice
from xenolith.engine.kvm.engine import KvmEngine
from xenolith.engine.kvm.measure import NATIVE_RATE, ring_0_rate
from xenolith.engine.kvm.pv.engine import KvmPvEngine
from xenolith.engine.kvm.pv.measure import measure_ring_3
from xenolith.engine.kvm.pv.traps import load_run
from xenolith.engine.pv import PvEngine
from xenolith.engine.unicorn.engine import UnicornEngine
from xenolith.engine.unicorn.machine import prepare_machine
from xenolith.engine.unicorn.pv.engine import UnicornPvEngine
from xenolith.engine.unicorn.pv.traps import load_traps
from xenolith.machine.memory import MachineMemory

VARIABLE = "XENOLITH_ENGINE"


class EngineName(StrEnum):
    """What may be wished for."""

    AUTO = "auto"
    UNICORN = "unicorn"
    KVM = "kvm"


class _Devices:
    """What this process has opened for its engine, or why it could not."""

    kvm: KvmDevice | None = None
    failure: EngineError | None = None


def resolve(wanted: EngineName) -> EngineName:
    """The engine that a wish comes to; EngineError if the environment names none that exists."""
    if wanted is not EngineName.AUTO:
        return wanted
    named = os.environ.get(VARIABLE) or EngineName.AUTO
    try:
        name = EngineName(named)
    except ValueError:
        raise EngineError(f"{VARIABLE}={named}: expected one of {', '.join(EngineName)}") from None
    return EngineName.UNICORN if name is EngineName.AUTO else name


def open_devices(wanted: EngineName) -> Sequence[int]:
    """Open, in a process about to be jailed, what the engine will need; the ioctls it will make.

    A failure is told when the engine is made.
    """
    try:
        if resolve(wanted) is not EngineName.KVM:
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
    if resolve(wanted) is EngineName.KVM:
        device = _kvm()
        return memory, KvmPvEngine(device, memory, measure_ring_3(device))
    return memory, UnicornPvEngine(memory)


def pv_engine_maker(wanted: EngineName) -> Callable[[int], tuple[MachineMemory, PvEngine]]:
    """:func:`new_pv_engine` for one wish."""
    return lambda frames: new_pv_engine(frames, wanted)


def report() -> str:
    """What domains get that leave the engine open, and what KVM is good for on this host, in one line.

    It takes some milliseconds, on the main thread.
    """
    try:
        chosen = f"hvm {resolve(EngineName.AUTO)}, pv {EngineName.UNICORN}"
    except EngineError as failure:
        chosen = str(failure)
    try:
        rate = ring_0_rate(KvmDevice.open())
    except (EngineError, OSError) as failure:
        return f"{chosen}; no kvm: {failure}"
    kind = "native" if rate > NATIVE_RATE else "emulated"
    return f"{chosen}; kvm if asked for: ring 0 {kind}, {rate / 1e6:.1f} million instructions/s"


def prepare_engines() -> None:
    """Load and verify what domain processes, forked from this one, would otherwise load each."""
    prepare_machine()
    load_traps()
    load_run()


def _kvm() -> KvmDevice:
    if _Devices.failure is not None:
        raise _Devices.failure
    if _Devices.kvm is None:
        _Devices.kvm = KvmDevice.open()
    return _Devices.kvm
