"""Mapping grants into the guest's own physical address space.

Behaves as map_grant_ref and unmap_common in Xen's common/grant_table.c, with the p2m functions of
arch/x86/hvm/grant_table.c, do for an HVM domain.
"""

from __future__ import annotations

from xenolith.abi.errno import XenError
from xenolith.abi.grant_table import (
    GNTMAP_application_map,
    GNTMAP_contains_pte,
    GNTMAP_device_map,
    GNTMAP_host_map,
    GNTMAP_readonly,
    GnttabMapGrantRef,
    GnttabUnmapAndReplace,
    GnttabUnmapGrantRef,
    GrantStatus,
)
from xenolith.hypervisor.grant_table.active import MAPPING_FLAGS, Granter
from xenolith.hypervisor.grant_table.errors import GrantError
from xenolith.hypervisor.grant_table.maptrack import TrackedMapping
from xenolith.hypervisor.grant_table.table import GrantTable
from xenolith.machine.address import PAGE_SHIFT, GuestPhys, gfn_of

_DOMAIN_0 = 0
_NOT_FOR_HVM = GNTMAP_device_map | GNTMAP_application_map | GNTMAP_contains_pte


def map_grant_ref(table: GrantTable, op: GnttabMapGrantRef) -> GnttabMapGrantRef:
    """Map a grant of the guest's own or of a backend's; GrantError."""
    if not op.flags & (GNTMAP_host_map | GNTMAP_device_map):
        raise GrantError(GrantStatus.bad_gntref, f"flags {op.flags:#x} map nothing")
    if op.flags & _NOT_FOR_HVM:
        raise GrantError(GrantStatus.general_error, "an HVM domain has no such mappings")
    granter = granter_of(table, op.dom)
    table.maptrack.check_room()
    readonly = op.flags & GNTMAP_readonly != 0
    active = granter.pin(op.ref, table.domid, readonly, MAPPING_FLAGS)
    mapping = TrackedMapping(granter, active, readonly)
    try:
        if op.flags & ~GNTMAP_readonly != GNTMAP_host_map:
            raise GrantError(GrantStatus.general_error, f"flags {op.flags:#x}")
        _map(table, op.host_addr, mapping)
    except GrantError:
        granter.unpin(active, readonly)
        raise
    handle = table.maptrack.add(mapping)
    return op._replace(handle=handle, dev_bus_addr=active.mfn << PAGE_SHIFT)


def unmap_grant_ref(table: GrantTable, op: GnttabUnmapGrantRef) -> GnttabUnmapGrantRef:
    """Undo a mapping; without an address nothing is undone. GrantError."""
    _unmap(table, op.handle, op.host_addr)
    return op


def unmap_and_replace(table: GrantTable, op: GnttabUnmapAndReplace) -> GnttabUnmapAndReplace:
    """Undo a mapping; an HVM domain cannot put another in its place. GrantError."""
    if table.maptrack[op.handle] and op.host_addr and op.new_addr:
        raise GrantError(GrantStatus.general_error, "an HVM domain cannot replace a mapping")
    _unmap(table, op.handle, op.host_addr)
    return op


def granter_of(table: GrantTable, domid: int) -> Granter:
    """Whose grants those of domain ``domid`` are, which is the guest or domain 0; GrantError."""
    if domid == table.domid:
        return table
    if domid == _DOMAIN_0:
        return table.backends
    raise GrantError(GrantStatus.bad_domain, f"a grant of domain {domid}")


def _map(table: GrantTable, address: int, mapping: TrackedMapping) -> None:
    try:
        gfn = gfn_of(GuestPhys(address))
        table.memory.map_grant(gfn, mapping.active.mfn, mapping.readonly)
    except XenError as error:
        raise GrantError(GrantStatus.general_error, str(error)) from error


def _unmap(table: GrantTable, handle: int, address: int) -> None:
    mapping = table.maptrack[handle]
    if not address:
        return
    try:
        table.memory.unmap_grant(gfn_of(GuestPhys(address)), mapping.active.mfn)
    except XenError as error:
        raise GrantError(GrantStatus.general_error, str(error)) from error
    table.maptrack.remove(handle)
    mapping.granter.unpin(mapping.active, mapping.readonly)
