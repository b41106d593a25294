"""physdev_op for a trace (public/physdev.h)."""

from __future__ import annotations

from xenolith.abi.physdev import (
    PHYSDEV_EOI,
    PHYSDEV_GET_FREE_PIRQ,
    PHYSDEV_IRQ_STATUS_QUERY,
    PHYSDEV_MAP_PIRQ,
    PHYSDEV_PIRQ_EOI_GMFN,
    PHYSDEV_UNMAP_PIRQ,
    PhysdevOp,
)
from xenolith.hypervisor.trace.decoding import Call, Commands
from xenolith.hypervisor.trace.structs import Struct

_pirq_eoi_gmfn = Call(Struct(PHYSDEV_PIRQ_EOI_GMFN))

PHYSDEV_OP = Commands(
    PhysdevOp,
    {
        PhysdevOp.irq_status_query: Call(
            Struct(PHYSDEV_IRQ_STATUS_QUERY, ("flags",), show={"flags": hex})
        ),
        PhysdevOp.eoi: Call(Struct(PHYSDEV_EOI)),
        PhysdevOp.map_pirq: Call(Struct(PHYSDEV_MAP_PIRQ, both=("pirq",))),
        PhysdevOp.unmap_pirq: Call(Struct(PHYSDEV_UNMAP_PIRQ)),
        PhysdevOp.get_free_pirq: Call(Struct(PHYSDEV_GET_FREE_PIRQ, ("pirq",))),
        PhysdevOp.pirq_eoi_gmfn_v1: _pirq_eoi_gmfn,
        PhysdevOp.pirq_eoi_gmfn_v2: _pirq_eoi_gmfn,
    },
)
