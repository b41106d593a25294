"""The memory_op hypercall: reservations, the guest's physical map, memory maps.

Mirrors public/memory.h; what only the toolstack may call is not here.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import U16, U32, U64, ULONG, Layout

HEADER = "memory.h"


@c_constants("XENMEM_")
class MemoryOp(IntEnum):
    """The command of memory_op, its first argument."""

    increase_reservation = 0
    decrease_reservation = 1
    maximum_ram_page = 2
    current_reservation = 3
    maximum_reservation = 4
    machphys_mfn_list = 5
    populate_physmap = 6
    add_to_physmap = 7
    memory_map = 9
    machine_memory_map = 10
    exchange = 11
    machphys_mapping = 12
    set_memory_map = 13
    maximum_gpfn = 14
    remove_from_physmap = 15
    set_pod_target = 16
    get_pod_target = 17
    get_sharing_freed_pages = 18
    get_sharing_shared_pages = 19
    paging_op = 20
    access_op = 21
    sharing_op = 22
    add_to_physmap_batch = 23
    claim_pages = 24
    machphys_compat_mfn_list = 25
    get_vnumainfo = 26
    reserved_device_memory_map = 27
    acquire_resource = 28


@c_constants("XENMAPSPACE_")
class MapSpace(IntEnum):
    """What add_to_physmap maps."""

    shared_info = 0
    grant_table = 1
    gmfn = 2
    gmfn_range = 3
    gmfn_foreign = 4
    dev_mmio = 5


@c_constants("XENMEM_resource_")
class Resource(IntEnum):
    """What acquire_resource acquires."""

    ioreq_server = 0
    grant_table = 1
    vmtrace_buf = 2


XENMAPIDX_grant_table_status = 0x80000000
XENMEM_resource_grant_table_id_shared = 0
XENMEM_resource_grant_table_id_status = 1
XENMEMF_populate_on_demand = 1 << 16
XENMEMF_exact_node_request = 1 << 17
XENMEMF_vnode = 1 << 18


class XenMemoryReservation(NamedTuple):
    """``nr_extents`` extents of 2**extent_order frames each; their frame numbers are listed."""

    extent_start: ULONG
    nr_extents: ULONG
    extent_order: U32
    mem_flags: U32
    domid: U16


XEN_MEMORY_RESERVATION = Layout(XenMemoryReservation, "struct xen_memory_reservation", HEADER)


class XenMemoryExchange(NamedTuple):
    """Give the frames of ``in_`` and get those of ``out``."""

    in_: Annotated[XenMemoryReservation, XEN_MEMORY_RESERVATION]
    out: Annotated[XenMemoryReservation, XEN_MEMORY_RESERVATION]
    nr_exchanged: ULONG


XEN_MEMORY_EXCHANGE = Layout(XenMemoryExchange, "struct xen_memory_exchange", HEADER, {"in_": "in"})


class XenMemoryDomain(NamedTuple):
    """The argument of {current,maximum}_reservation and maximum_gpfn."""

    domid: U16


XEN_MEMORY_DOMAIN = Layout(XenMemoryDomain, "struct xen_memory_domain", HEADER)


class XenMachphysMapping(NamedTuple):
    """Where the machine-to-physical table is."""

    v_start: ULONG
    v_end: ULONG
    max_mfn: ULONG


XEN_MACHPHYS_MAPPING = Layout(XenMachphysMapping, "struct xen_machphys_mapping", HEADER)


class XenAddToPhysmap(NamedTuple):
    """Map frame ``idx`` of ``space`` at the guest frame ``gpfn``."""

    domid: U16
    size: U16
    space: U32
    idx: ULONG
    gpfn: ULONG


XEN_ADD_TO_PHYSMAP = Layout(XenAddToPhysmap, "struct xen_add_to_physmap", HEADER)


class XenAddToPhysmapBatch(NamedTuple):
    """``size`` mappings at once, each with its own error."""

    domid: U16
    space: U16
    size: U16
    foreign_domid: U16
    idxs: ULONG
    gpfns: ULONG
    errs: ULONG


XEN_ADD_TO_PHYSMAP_BATCH = Layout(
    XenAddToPhysmapBatch,
    "struct xen_add_to_physmap_batch",
    HEADER,
    {"foreign_domid": "u.foreign_domid"},
)


class XenRemoveFromPhysmap(NamedTuple):
    """Unmap the guest frame ``gpfn``."""

    domid: U16
    gpfn: ULONG


XEN_REMOVE_FROM_PHYSMAP = Layout(XenRemoveFromPhysmap, "struct xen_remove_from_physmap", HEADER)


class XenMemoryMap(NamedTuple):
    """A buffer for ``nr_entries`` E820 entries."""

    nr_entries: U32
    buffer: ULONG


XEN_MEMORY_MAP = Layout(XenMemoryMap, "struct xen_memory_map", HEADER)


class XenForeignMemoryMap(NamedTuple):
    """A memory map for another domain."""

    domid: U16
    map: Annotated[XenMemoryMap, XEN_MEMORY_MAP]


XEN_FOREIGN_MEMORY_MAP = Layout(XenForeignMemoryMap, "struct xen_foreign_memory_map", HEADER)


class E820Entry(NamedTuple):
    """One range of the BIOS memory map (INT 15h, AX=E820h): 20 bytes."""

    addr: U64
    size: U64
    type: U32


E820_ENTRY = Layout(E820Entry, pack=4)


class XenMemAcquireResource(NamedTuple):
    """Frames of a resource of a domain."""

    domid: U16
    type: U16
    id: U32
    nr_frames: U32
    pad: U32
    frame: U64
    frame_list: ULONG


XEN_MEM_ACQUIRE_RESOURCE = Layout(XenMemAcquireResource, "struct xen_mem_acquire_resource", HEADER)


class XenVnumaTopologyInfo(NamedTuple):
    """Buffers for the domain's virtual NUMA topology."""

    domid: U16
    pad: U16
    nr_vnodes: U32
    nr_vcpus: U32
    nr_vmemranges: U32
    vdistance: U64
    vcpu_to_vnode: U64
    vmemrange: U64


XEN_VNUMA_TOPOLOGY_INFO = Layout(XenVnumaTopologyInfo, "struct xen_vnuma_topology_info", HEADER)
