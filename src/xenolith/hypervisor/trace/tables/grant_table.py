"""grant_table_op for a trace (public/grant_table.h)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from xenolith.abi.grant_table import (
    GNTTAB_CACHE_CLEAN,
    GNTTAB_CACHE_FLUSH,
    GNTTAB_CACHE_INVAL,
    GNTTAB_CACHE_SOURCE_GREF,
    GNTTAB_COPY,
    GNTTAB_DUMP_TABLE,
    GNTTAB_GET_STATUS_FRAMES,
    GNTTAB_GET_VERSION,
    GNTTAB_MAP_GRANT_REF,
    GNTTAB_QUERY_SIZE,
    GNTTAB_SET_VERSION,
    GNTTAB_SETUP_TABLE,
    GNTTAB_SWAP_GRANT_REF,
    GNTTAB_TRANSFER,
    GNTTAB_UNMAP_AND_REPLACE,
    GNTTAB_UNMAP_GRANT_REF,
    GNTCOPY_dest_gref,
    GNTCOPY_source_gref,
    GNTMAP_application_map,
    GNTMAP_contains_pte,
    GNTMAP_device_map,
    GNTMAP_host_map,
    GNTMAP_readonly,
    GnttabCopy,
    GnttabCopyPtr,
    GrantStatus,
    GrantTableOp,
)
from xenolith.hypervisor.trace import values
from xenolith.hypervisor.trace.decoding import Call, Commands, Look, Registers
from xenolith.hypervisor.trace.structs import Derive, Struct, StructArray, pointed, pointed_words

_CMD_MASK = 0xFFF
_COUNT_MASK = 0xFFFFFFFF
_GREF_MASK = 0xFFFFFFFF

_map_flags = values.flags(
    {
        GNTMAP_device_map: "device_map",
        GNTMAP_host_map: "host_map",
        GNTMAP_readonly: "readonly",
        GNTMAP_application_map: "application_map",
        GNTMAP_contains_pte: "contains_pte",
    }
)
_copy_flags = values.flags({GNTCOPY_source_gref: "source_gref", GNTCOPY_dest_gref: "dest_gref"})
_flush_ops = values.flags(
    {
        GNTTAB_CACHE_CLEAN: "clean",
        GNTTAB_CACHE_INVAL: "inval",
        GNTTAB_CACHE_SOURCE_GREF: "source_gref",
    }
)

_Struct = partial(Struct, show={"status": values.one_of(GrantStatus)})


def _command(registers: Registers) -> tuple[int, str]:
    """The bits above the command are Xen's own, for continuations of cache_flush."""
    count = registers[2] & _COUNT_MASK
    return registers[0] & _CMD_MASK, "" if count == 1 else f" x{values.number(count)}"


def _end(pointer: str, by_reference: int) -> Callable[[Any, Look], str]:
    """One end of a copy: a grant reference or a frame, as the flags say."""

    def derive(copy: GnttabCopy, _look: Look) -> str:
        end: GnttabCopyPtr = getattr(copy, pointer)
        reference, frame = f"ref={values.number(end.u & _GREF_MASK)}", f"gmfn={end.u:#x}"
        what = reference if copy.flags & by_reference else frame
        return f"{{{what}, domid={values.domid(end.domid)}, offset={end.offset:#x}}}"

    return derive


_COPY = Struct(
    GNTTAB_COPY,
    outs=("status",),
    show={"flags": _copy_flags, "status": values.one_of(GrantStatus)},
    derived={
        "source": _end("source", GNTCOPY_source_gref),
        "dest": _end("dest", GNTCOPY_dest_gref),
    },
)
_MAP = Struct(
    GNTTAB_MAP_GRANT_REF,
    outs=("status", "handle", "dev_bus_addr"),
    show={"flags": _map_flags, "status": values.one_of(GrantStatus)},
)


def _frame_listing(layout: Any, listed: Derive) -> Struct:
    """A struct that asks for the frames of a table."""
    return _Struct(layout, outs=("status", "frame_list"), derived={"frame_list": listed})


def _calls(structs: dict[int, Struct]) -> dict[int, Call]:
    return {command: Call(StructArray(struct)) for command, struct in structs.items()}


_STATUS: Sequence[str] = ("status",)

GRANT_TABLE_OP = Commands(
    GrantTableOp,
    _calls(
        {
            GrantTableOp.map_grant_ref: _MAP,
            GrantTableOp.unmap_grant_ref: _Struct(GNTTAB_UNMAP_GRANT_REF, _STATUS),
            GrantTableOp.setup_table: _frame_listing(
                GNTTAB_SETUP_TABLE, pointed_words("frame_list", "nr_frames", hex)
            ),
            GrantTableOp.dump_table: _Struct(GNTTAB_DUMP_TABLE, _STATUS),
            GrantTableOp.transfer: _Struct(GNTTAB_TRANSFER, _STATUS),
            GrantTableOp.copy: _COPY,
            GrantTableOp.query_size: _Struct(
                GNTTAB_QUERY_SIZE, ("nr_frames", "max_nr_frames", "status")
            ),
            GrantTableOp.unmap_and_replace: _Struct(GNTTAB_UNMAP_AND_REPLACE, _STATUS),
            GrantTableOp.set_version: _Struct(GNTTAB_SET_VERSION, both=("version",)),
            GrantTableOp.get_status_frames: _frame_listing(
                GNTTAB_GET_STATUS_FRAMES, pointed("frame_list", "nr_frames", "Q", hex)
            ),
            GrantTableOp.get_version: _Struct(GNTTAB_GET_VERSION, ("version",)),
            GrantTableOp.swap_grant_ref: _Struct(GNTTAB_SWAP_GRANT_REF, _STATUS),
            GrantTableOp.cache_flush: Struct(GNTTAB_CACHE_FLUSH, show={"op": _flush_ops}),
        }
    ),
    _command,
)
