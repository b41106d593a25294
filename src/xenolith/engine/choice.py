"""Which engine a domain gets. There is one kind so far, which runs everywhere."""

from __future__ import annotations

from xenolith.engine.hvm import HvmEngine
from xenolith.engine.unicorn.engine import UnicornEngine
from xenolith.machine.memory import MachineMemory


def new_hvm_engine(memory: MachineMemory) -> HvmEngine:
    """An engine for HVM vCPUs over a domain's memory."""
    return UnicornEngine(memory)
