"""Builds the machine of a domain by its type; the zygote imports this, and with it all that is slow to load."""

from __future__ import annotations

from xenolith.backends.block.requests import load_requests
from xenolith.builder.errors import BuildError
from xenolith.engine.choice import EngineName, VcpuKind, choose, prepare_engines
from xenolith.hypervisor.grant_table.native import load_grants
from xenolith.hypervisor.pv.native_mmu import load_mmu
from xenolith.toolstack.config import DomainType
from xenolith.toolstack.config.runnable import refusal
from xenolith.toolstack.machine import Assignment, Machine, MachineEvents
from xenolith.toolstack.pv_machine import PvMachine
from xenolith.toolstack.pvh_machine import PvhMachine

prepare_engines()
load_grants()
load_mmu()
load_requests()


def build_domain(assignment: Assignment, events: MachineEvents) -> Machine:
    """A domain, its vCPUs standing still (toolstack.machine.MachineFactory); BuildError."""
    machine: Machine
    match assignment.config.type:
        case DomainType.PV:
            machine, kind = PvMachine(assignment, events), VcpuKind.PV
        case DomainType.PVH:
            machine, kind = PvhMachine(assignment, events), VcpuKind.HVM
        case DomainType.HVM:
            raise BuildError(str(refusal(assignment.config)))
    choice = choose(EngineName(assignment.config.engine), kind)
    events.log(str(choice))
    return machine
