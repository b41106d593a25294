"""Grants in a PV guest's page tables: mapping, unmapping and replacing, and frames that are given away.

Behaves as create_grant_pv_mapping and replace_grant_pv_mapping in xen/arch/x86/pv/grant_table.c, and as what calls
them in xen/common/grant_table.c.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from xenolith.abi.errno import XenError
from xenolith.abi.grant_table import (
    GNTTAB_MAP_GRANT_REF,
    GNTTAB_TRANSFER,
    GNTTAB_UNMAP_AND_REPLACE,
    GNTTAB_UNMAP_GRANT_REF,
    GNTMAP_contains_pte,
    GNTMAP_device_map,
    GNTMAP_host_map,
    GNTMAP_readonly,
    GnttabMapGrantRef,
    GnttabTransfer,
    GnttabUnmapAndReplace,
    GnttabUnmapGrantRef,
    GrantStatus,
    GrantTableOp,
)
from xenolith.hypervisor.grant_table import GrantError, GrantTable, grant_table_op
from xenolith.hypervisor.grant_table.active import MAPPING_FLAGS
from xenolith.hypervisor.grant_table.guest_mapping import granter_of
from xenolith.hypervisor.grant_table.hypercall import Operation
from xenolith.hypervisor.grant_table.maptrack import TrackedMapping
from xenolith.hypervisor.grant_table.transfer import accept_transfer
from xenolith.hypervisor.pv.page_table import ACCESSED, DIRTY, PRESENT, WRITABLE
from xenolith.hypervisor.pv.page_type import PageType
from xenolith.machine.address import PAGE_SHIFT, GuestVirt, Mfn

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_KINDS = (GNTMAP_host_map, GNTMAP_device_map)
_NO_EXECUTE = 1 << 63
_GUEST_BITS_SHIFT, _AVAILABLE_SHIFT, _AVAILABLE = 16, 9, 0xE00
"""Three bits of an entry are the guest's, and come in the upper half of the flags."""
_ENTRY_BYTES, _ENTRY_INDEX = 8, 511
_ADDRESS = 0x000F_FFFF_FFFF_F000
_DOMAIN_0 = 0


def grant_table(vcpu: PvVcpu, cmd: int, argument: int, count: int, _a4: int, _a5: int) -> int:
    """grant_table_op(cmd, args, count)."""
    own = {number: Operation(layout, partial(act, vcpu)) for number, layout, act in _OPERATIONS}
    return grant_table_op(vcpu.domain.grants, vcpu.paging, cmd, GuestVirt(argument), count, own)


def map_grant_ref(vcpu: PvVcpu, table: GrantTable, op: GnttabMapGrantRef) -> GnttabMapGrantRef:
    """Map a grant by an entry of level 1, for devices, which there are none of, or both; GrantError."""
    kinds = [kind for kind in _KINDS if op.flags & kind]
    if not kinds:
        raise GrantError(GrantStatus.bad_gntref, f"flags {op.flags:#x} map nothing")
    granter = granter_of(table, op.dom)
    table.maptrack.check_room()
    readonly = op.flags & GNTMAP_readonly != 0
    active = granter.pin(op.ref, table.domid, readonly, MAPPING_FLAGS)
    try:
        if op.flags & GNTMAP_host_map:
            entry = _entry(active.mfn, op.flags)
            _update(vcpu, _slot(vcpu, op.host_addr, op.flags), entry)
        if len(kinds) > 1:
            granter.pin(op.ref, table.domid, readonly, MAPPING_FLAGS)
    except GrantError:
        granter.unpin(active, readonly)
        raise
    handle = table.maptrack.add(TrackedMapping(granter, active, readonly, op.flags))
    return op._replace(handle=handle, dev_bus_addr=active.mfn << PAGE_SHIFT)


def unmap_grant_ref(
    vcpu: PvVcpu, table: GrantTable, op: GnttabUnmapGrantRef
) -> GnttabUnmapGrantRef:
    """Undo a mapping, or what of it the operation has an address of; GrantError."""
    mapping = table.maptrack[op.handle]
    done = 0
    if op.dev_bus_addr and mapping.flags & GNTMAP_device_map:
        if op.dev_bus_addr != mapping.active.mfn << PAGE_SHIFT:
            raise GrantError(GrantStatus.general_error, f"no bus address {op.dev_bus_addr:#x}")
        done |= GNTMAP_device_map
    if op.host_addr and mapping.flags & GNTMAP_host_map:
        _unmap(vcpu, mapping, op.host_addr)
        done |= GNTMAP_host_map
    _let_go(table, op.handle, done)
    return op


def unmap_and_replace(
    vcpu: PvVcpu, table: GrantTable, op: GnttabUnmapAndReplace
) -> GnttabUnmapAndReplace:
    """Put the entry that maps another address in a mapping's place; GrantError."""
    mapping = table.maptrack[op.handle]
    if not op.host_addr or not mapping.flags & GNTMAP_host_map:
        return op
    if op.new_addr and mapping.flags & GNTMAP_contains_pte:
        raise GrantError(GrantStatus.general_error, "an entry by its machine address is unmapped")
    _unmap(vcpu, mapping, op.host_addr, op.new_addr)
    _let_go(table, op.handle, GNTMAP_host_map)
    return op


def transfer(vcpu: PvVcpu, table: GrantTable, op: GnttabTransfer) -> GnttabTransfer:
    """Give a frame away, which nobody but the guest itself can take; GrantError, and as in Xen it is gone.

    A frame that is still in use stays where it is.
    """
    domain = vcpu.domain
    if not domain.types.is_present(op.mfn):
        raise GrantError(GrantStatus.bad_page, f"frame {op.mfn:#x} is not the domain's")
    if domain.types.type_of(op.mfn) is not PageType.NONE or domain.types.is_granted(Mfn(op.mfn)):
        raise GrantError(GrantStatus.general_error, f"frame {op.mfn:#x} is in use")
    try:
        if op.domid != table.domid:
            known = op.domid == _DOMAIN_0
            status = GrantStatus.general_error if known else GrantStatus.bad_domain
            raise GrantError(status, f"domain {op.domid} takes no frames")
        accept_transfer(table, op.ref, table.domid, Mfn(op.mfn))
    except GrantError:
        domain.memory.release(op.mfn)
        raise
    return op


def _entry(mfn: Mfn, flags: int) -> int:
    entry = mfn << PAGE_SHIFT | PRESENT | ACCESSED | DIRTY | _NO_EXECUTE
    if not flags & GNTMAP_readonly:
        entry |= WRITABLE
    return entry | (flags >> _GUEST_BITS_SHIFT << _AVAILABLE_SHIFT & _AVAILABLE)


def _slot(vcpu: PvVcpu, address: int, flags: int = 0) -> int:
    """The machine address of an entry of level 1: as it is given, or that which maps an address; GrantError."""
    slot = address
    if not flags & GNTMAP_contains_pte:
        try:
            slot, _ = vcpu.paging.slot(address)
        except XenError as error:
            raise GrantError(GrantStatus.general_error, str(error)) from error
    is_level1 = vcpu.domain.types.type_of(slot >> PAGE_SHIFT) is PageType.L1
    if slot % _ENTRY_BYTES or not is_level1:
        raise GrantError(GrantStatus.general_error, f"no entry of level 1 for {address:#x}")
    return slot


def _update(vcpu: PvVcpu, slot: int, entry: int) -> None:
    try:
        vcpu.domain.page_tables.update_l1(
            slot >> PAGE_SHIFT, slot // _ENTRY_BYTES & _ENTRY_INDEX, entry
        )
    except XenError as error:
        raise GrantError(GrantStatus.general_error, str(error)) from error


def _unmap(vcpu: PvVcpu, mapping: TrackedMapping, address: int, new_address: int = 0) -> None:
    """Empty the entry that maps a grant, or have it be what maps another address, and that empty."""
    slot = _slot(vcpu, address, mapping.flags)
    wanted = PRESENT | (0 if mapping.readonly else WRITABLE)
    found = _read(vcpu, slot)
    if found & _ADDRESS != mapping.active.mfn << PAGE_SHIFT or (
        found & (PRESENT | WRITABLE) != wanted
    ):
        raise GrantError(GrantStatus.general_error, f"the grant is not mapped at {address:#x}")
    entry = 0
    if new_address:
        other = _slot(vcpu, new_address)
        entry = _read(vcpu, other)
        _update(vcpu, other, 0)
    _update(vcpu, slot, entry)
    vcpu.domain.types.flush()


def _read(vcpu: PvVcpu, slot: int) -> int:
    return int.from_bytes(vcpu.domain.memory.machine.read(slot, _ENTRY_BYTES), "little")


def _let_go(table: GrantTable, handle: int, done: int) -> None:
    """Some of the ways in which a grant is mapped are undone."""
    mapping = table.maptrack[handle]
    for kind in _KINDS:
        if done & kind:
            mapping.granter.unpin(mapping.active, mapping.readonly)
    left = mapping.flags & ~done
    if any(left & kind for kind in _KINDS):
        table.maptrack.change(handle, mapping._replace(flags=left))
    else:
        table.maptrack.remove(handle)


_OPERATIONS = (
    (GrantTableOp.map_grant_ref.value, GNTTAB_MAP_GRANT_REF, map_grant_ref),
    (GrantTableOp.unmap_grant_ref.value, GNTTAB_UNMAP_GRANT_REF, unmap_grant_ref),
    (GrantTableOp.transfer.value, GNTTAB_TRANSFER, transfer),
    (GrantTableOp.unmap_and_replace.value, GNTTAB_UNMAP_AND_REPLACE, unmap_and_replace),
)
