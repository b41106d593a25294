"""The grant_table_op hypercall and the entries by which a guest grants access to its frames.

Mirrors public/grant_table.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import S16, U16, U32, U64, ULONG, Layout

HEADER = "grant_table.h"

GNTTAB_NR_RESERVED_ENTRIES = 8
GNTTAB_RESERVED_CONSOLE = 0
GNTTAB_RESERVED_XENSTORE = 1

GTF_invalid = 0
GTF_permit_access = 1
GTF_accept_transfer = 2
GTF_transitive = 3
GTF_type_mask = 3
GTF_readonly = 1 << 2
GTF_reading = 1 << 3
GTF_writing = 1 << 4
GTF_PWT = 1 << 5
GTF_PCD = 1 << 6
GTF_PAT = 1 << 7
GTF_sub_page = 1 << 8
GTF_transfer_committed = 1 << 2
GTF_transfer_completed = 1 << 3

GNTMAP_device_map = 1 << 0
GNTMAP_host_map = 1 << 1
GNTMAP_readonly = 1 << 2
GNTMAP_application_map = 1 << 3
GNTMAP_contains_pte = 1 << 4

GNTCOPY_source_gref = 1 << 0
GNTCOPY_dest_gref = 1 << 1

GNTTAB_CACHE_CLEAN = 1 << 0
GNTTAB_CACHE_INVAL = 1 << 1
GNTTAB_CACHE_SOURCE_GREF = 1 << 31


@c_constants("GNTTABOP_")
class GrantTableOp(IntEnum):
    """First argument of grant_table_op."""

    map_grant_ref = 0
    unmap_grant_ref = 1
    setup_table = 2
    dump_table = 3
    transfer = 4
    copy = 5
    query_size = 6
    unmap_and_replace = 7
    set_version = 8
    get_status_frames = 9
    get_version = 10
    swap_grant_ref = 11
    cache_flush = 12


@c_constants("GNTST_")
class GrantStatus(IntEnum):
    """What a single grant operation reports in its ``status``."""

    okay = 0
    general_error = -1
    bad_domain = -2
    bad_gntref = -3
    bad_handle = -4
    bad_virt_addr = -5
    bad_dev_addr = -6
    no_device_space = -7
    permission_denied = -8
    bad_page = -9
    bad_copy_arg = -10
    address_too_big = -11
    eagain = -12
    no_space = -13


class GrantEntryV1(NamedTuple):
    """A version 1 entry: ``domid`` may access the guest frame ``frame`` as ``flags`` say."""

    flags: U16
    domid: U16
    frame: U32


GRANT_ENTRY_V1 = Layout(GrantEntryV1, "struct grant_entry_v1", HEADER)


class GrantEntryV2(NamedTuple):
    """A version 2 entry that grants a frame, or ``length`` bytes of it (GTF_sub_page)."""

    flags: U16
    domid: U16
    page_off: U16
    length: U16
    frame: U64


GRANT_ENTRY_V2 = Layout(
    GrantEntryV2,
    "union grant_entry_v2",
    HEADER,
    {
        "flags": "sub_page.hdr.flags",
        "domid": "sub_page.hdr.domid",
        "page_off": "sub_page.page_off",
        "length": "sub_page.length",
        "frame": "sub_page.frame",
    },
)


class GrantEntryV2Transitive(NamedTuple):
    """A version 2 entry that passes on the grant ``gref`` of ``trans_domid``."""

    flags: U16
    domid: U16
    trans_domid: U16
    pad0: U16
    gref: U32
    pad1: U32


GRANT_ENTRY_V2_TRANSITIVE = Layout(
    GrantEntryV2Transitive,
    "union grant_entry_v2",
    HEADER,
    {
        "flags": "transitive.hdr.flags",
        "domid": "transitive.hdr.domid",
        "trans_domid": "transitive.trans_domid",
        "gref": "transitive.gref",
    },
)


class GnttabMapGrantRef(NamedTuple):
    """Map grant ``ref`` of ``dom`` at ``host_addr``."""

    host_addr: U64
    flags: U32
    ref: U32
    dom: U16
    status: S16
    handle: U32
    dev_bus_addr: U64


GNTTAB_MAP_GRANT_REF = Layout(GnttabMapGrantRef, "struct gnttab_map_grant_ref", HEADER)


class GnttabUnmapGrantRef(NamedTuple):
    """Undo the mapping ``handle``."""

    host_addr: U64
    dev_bus_addr: U64
    handle: U32
    status: S16


GNTTAB_UNMAP_GRANT_REF = Layout(GnttabUnmapGrantRef, "struct gnttab_unmap_grant_ref", HEADER)


class GnttabSetupTable(NamedTuple):
    """Make the table ``nr_frames`` frames large and list them."""

    dom: U16
    nr_frames: U32
    status: S16
    frame_list: ULONG


GNTTAB_SETUP_TABLE = Layout(GnttabSetupTable, "struct gnttab_setup_table", HEADER)


class GnttabDumpTable(NamedTuple):
    """Print the table of ``dom`` on the hypervisor's console."""

    dom: U16
    status: S16


GNTTAB_DUMP_TABLE = Layout(GnttabDumpTable, "struct gnttab_dump_table", HEADER)


class GnttabTransfer(NamedTuple):
    """Give a frame away through an entry that accepts a transfer."""

    mfn: ULONG
    domid: U16
    ref: U32
    status: S16


GNTTAB_TRANSFER = Layout(GnttabTransfer, "struct gnttab_transfer", HEADER)


class GnttabCopyPtr(NamedTuple):
    """One end of a copy; ``u`` is a frame number or in its low 32 bits a grant reference."""

    u: ULONG
    domid: U16
    offset: U16


GNTTAB_COPY_PTR = Layout(GnttabCopyPtr, "struct gnttab_copy_ptr", HEADER)


class GnttabCopy(NamedTuple):
    """Copy ``len`` bytes between granted frames or own ones."""

    source: Annotated[GnttabCopyPtr, GNTTAB_COPY_PTR]
    dest: Annotated[GnttabCopyPtr, GNTTAB_COPY_PTR]
    len: U16
    flags: U16
    status: S16


GNTTAB_COPY = Layout(GnttabCopy, "struct gnttab_copy", HEADER)


class GnttabQuerySize(NamedTuple):
    """The present and the largest possible number of frames of a table."""

    dom: U16
    nr_frames: U32
    max_nr_frames: U32
    status: S16


GNTTAB_QUERY_SIZE = Layout(GnttabQuerySize, "struct gnttab_query_size", HEADER)


class GnttabUnmapAndReplace(NamedTuple):
    """Undo a mapping and put another one in its place; PV only."""

    host_addr: U64
    new_addr: U64
    handle: U32
    status: S16


GNTTAB_UNMAP_AND_REPLACE = Layout(GnttabUnmapAndReplace, "struct gnttab_unmap_and_replace", HEADER)


class GnttabSetVersion(NamedTuple):
    """The version of the entries; the version in force is the answer."""

    version: U32


GNTTAB_SET_VERSION = Layout(GnttabSetVersion, "struct gnttab_set_version", HEADER)


class GnttabGetStatusFrames(NamedTuple):
    """List the ``nr_frames`` frames that hold the status words of version 2."""

    nr_frames: U32
    dom: U16
    status: S16
    frame_list: ULONG


GNTTAB_GET_STATUS_FRAMES = Layout(GnttabGetStatusFrames, "struct gnttab_get_status_frames", HEADER)


class GnttabGetVersion(NamedTuple):
    """The version of the entries of ``dom``."""

    dom: U16
    pad: U16
    version: U32


GNTTAB_GET_VERSION = Layout(GnttabGetVersion, "struct gnttab_get_version", HEADER)


class GnttabSwapGrantRef(NamedTuple):
    """Exchange two entries."""

    ref_a: U32
    ref_b: U32
    status: S16


GNTTAB_SWAP_GRANT_REF = Layout(GnttabSwapGrantRef, "struct gnttab_swap_grant_ref", HEADER)


class GnttabCacheFlush(NamedTuple):
    """Write back or invalidate the data cache over part of a frame."""

    dev_bus_addr: U64
    offset: U16
    length: U16
    op: U32


GNTTAB_CACHE_FLUSH = Layout(
    GnttabCacheFlush, "struct gnttab_cache_flush", HEADER, {"dev_bus_addr": "a.dev_bus_addr"}
)
