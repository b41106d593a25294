"""Which engine a domain gets. There is one kind so far, which runs everywhere."""

from __future__ import annotations

from xenolith.engine.hvm import HvmEngine
from xenolith.engine.pv import PvEngine
from xenolith.engine.unicorn.engine import UnicornEngine
from xenolith.engine.unicorn.machine import prepare_machine
from xenolith.engine.unicorn.pv.engine import UnicornPvEngine
from xenolith.engine.unicorn.pv.traps import load_traps
from xenolith.machine.memory import MachineMemory


def new_hvm_engine(frames: int) -> tuple[MachineMemory, HvmEngine]:
    """Memory of ``frames`` machine frames for a domain, and an engine for HVM vCPUs over it."""
    memory = MachineMemory(frames)
    return memory, UnicornEngine(memory)


def new_pv_engine(frames: int) -> tuple[MachineMemory, PvEngine]:
    """Memory of ``frames`` machine frames for a domain, and an engine for PV vCPUs over it."""
    memory = MachineMemory(frames)
    return memory, UnicornPvEngine(memory)


def prepare_engines() -> None:
    """Load and verify what domain processes, forked from this one, would otherwise load each."""
    prepare_machine()
    load_traps()
