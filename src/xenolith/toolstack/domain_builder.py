"""Builds the machine of a domain by its type; the zygote imports this, and with it all that is slow to load."""

from __future__ import annotations

from xenolith.builder.errors import BuildError
from xenolith.engine.choice import prepare_engines
from xenolith.toolstack.config import DomainType
from xenolith.toolstack.machine import Assignment, Machine, MachineEvents
from xenolith.toolstack.pvh_machine import PvhMachine

prepare_engines()


def build_domain(assignment: Assignment, events: MachineEvents) -> Machine:
    """A domain, its vCPUs standing still (toolstack.machine.MachineFactory); BuildError."""
    if assignment.config.type is not DomainType.PVH:
        raise BuildError(
            f'type="{assignment.config.type}" is not supported yet: this release runs type="pvh"'
        )
    return PvhMachine(assignment, events)
