"""memory_op for a trace (public/memory.h)."""

from __future__ import annotations

from xenolith.abi.hvm_start_info import MemmapType
from xenolith.abi.memory import (
    E820_ENTRY,
    XEN_ADD_TO_PHYSMAP,
    XEN_ADD_TO_PHYSMAP_BATCH,
    XEN_FOREIGN_MEMORY_MAP,
    XEN_MACHPHYS_MAPPING,
    XEN_MEM_ACQUIRE_RESOURCE,
    XEN_MEMORY_DOMAIN,
    XEN_MEMORY_EXCHANGE,
    XEN_MEMORY_MAP,
    XEN_MEMORY_RESERVATION,
    XEN_REMOVE_FROM_PHYSMAP,
    XEN_VNUMA_TOPOLOGY_INFO,
    MapSpace,
    MemoryOp,
    Resource,
    XenAddToPhysmap,
    XENMAPIDX_grant_table_status,
)
from xenolith.hypervisor.trace import values
from xenolith.hypervisor.trace.decoding import Call, Commands, Look, Registers
from xenolith.hypervisor.trace.structs import (
    Struct,
    pointed,
    pointed_structs,
    pointed_words,
    within,
)

_EXTENT_SHIFT = 6
_COMMAND_MASK = (1 << _EXTENT_SHIFT) - 1

_space = values.one_of(MapSpace)


def _command(registers: Registers) -> tuple[int, str]:
    """A continued list says in the command where it goes on (MEMOP_EXTENT_SHIFT)."""
    command, start = registers[0] & _COMMAND_MASK, registers[0] >> _EXTENT_SHIFT
    return command, f" from {values.number(start)}" if start else ""


def _index(asked: XenAddToPhysmap, _look: Look) -> str:
    """A frame of the guest's, or the number of a frame of a table, which may be that of the status words."""
    if asked.space == MapSpace.grant_table and asked.idx & XENMAPIDX_grant_table_status:
        return f"status|{values.number(asked.idx & ~XENMAPIDX_grant_table_status)}"
    if asked.space == MapSpace.gmfn_range:
        return f"{asked.idx:#x} x{asked.size}"
    frames = (MapSpace.gmfn, MapSpace.gmfn_foreign)
    return hex(asked.idx) if asked.space in frames else values.number(asked.idx)


_RESERVATION = Struct(
    XEN_MEMORY_RESERVATION,
    show={"mem_flags": hex},
    derived={"extent_start": pointed_words("extent_start", "nr_extents", hex)},
)
_EXCHANGE = Struct(
    XEN_MEMORY_EXCHANGE,
    both=("nr_exchanged",),
    derived={"in_": within("in_", _RESERVATION), "out": within("out", _RESERVATION)},
)
_ADD_TO_PHYSMAP = Struct(
    XEN_ADD_TO_PHYSMAP, show={"space": _space}, derived={"idx": _index}, hidden=("size",)
)
_ADD_TO_PHYSMAP_BATCH = Struct(
    XEN_ADD_TO_PHYSMAP_BATCH,
    outs=("errs",),
    show={"space": _space},
    derived={
        "idxs": pointed_words("idxs", "size", hex),
        "gpfns": pointed_words("gpfns", "size", hex),
        "errs": pointed("errs", "size", "i", values.error),
    },
)
_E820 = Struct(E820_ENTRY, show={"addr": hex, "size": hex, "type": values.one_of(MemmapType)})
_MEMORY_MAP = Struct(
    XEN_MEMORY_MAP,
    outs=("buffer",),
    both=("nr_entries",),
    derived={"buffer": pointed_structs("buffer", "nr_entries", _E820)},
)
_NEW_MEMORY_MAP = Struct(
    XEN_MEMORY_MAP, derived={"buffer": pointed_structs("buffer", "nr_entries", _E820)}
)
_SET_MEMORY_MAP = Struct(XEN_FOREIGN_MEMORY_MAP, derived={"map": within("map", _NEW_MEMORY_MAP)})
_ACQUIRE_RESOURCE = Struct(
    XEN_MEM_ACQUIRE_RESOURCE, both=("nr_frames",), show={"type": values.one_of(Resource)}
)
_reservation = Call(_RESERVATION)
_of_domain = Call(Struct(XEN_MEMORY_DOMAIN))
_memory_map = Call(_MEMORY_MAP)

MEMORY_OP = Commands(
    MemoryOp,
    {
        MemoryOp.increase_reservation: _reservation,
        MemoryOp.decrease_reservation: _reservation,
        MemoryOp.populate_physmap: _reservation,
        MemoryOp.exchange: Call(_EXCHANGE),
        MemoryOp.current_reservation: _of_domain,
        MemoryOp.maximum_reservation: _of_domain,
        MemoryOp.maximum_gpfn: Call(Struct(XEN_MEMORY_DOMAIN), result=hex),
        MemoryOp.maximum_ram_page: Call(result=hex),
        MemoryOp.add_to_physmap: Call(_ADD_TO_PHYSMAP),
        MemoryOp.add_to_physmap_batch: Call(_ADD_TO_PHYSMAP_BATCH),
        MemoryOp.remove_from_physmap: Call(Struct(XEN_REMOVE_FROM_PHYSMAP)),
        MemoryOp.memory_map: _memory_map,
        MemoryOp.machine_memory_map: _memory_map,
        MemoryOp.set_memory_map: Call(_SET_MEMORY_MAP),
        MemoryOp.machphys_mapping: Call(
            Struct(XEN_MACHPHYS_MAPPING, outs=("v_start", "v_end", "max_mfn"))
        ),
        MemoryOp.acquire_resource: Call(_ACQUIRE_RESOURCE),
        MemoryOp.get_vnumainfo: Call(Struct(XEN_VNUMA_TOPOLOGY_INFO)),
    },
    _command,
)
