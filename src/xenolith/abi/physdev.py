"""The physdev_op hypercall: numbers and the arguments that an unprivileged guest may pass.

Mirrors public/physdev.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import S32, U16, U32, U64, ULONG, Layout

HEADER = "physdev.h"


@c_constants("PHYSDEVOP_")
class PhysdevOp(IntEnum):
    """First argument of physdev_op."""

    irq_status_query = 5
    set_iopl = 6
    set_iobitmap = 7
    apic_read = 8
    apic_write = 9
    alloc_irq_vector = 10
    free_irq_vector = 11
    eoi = 12
    map_pirq = 13
    unmap_pirq = 14
    manage_pci_add = 15
    manage_pci_remove = 16
    pirq_eoi_gmfn_v1 = 17
    restore_msi = 19
    manage_pci_add_ext = 20
    setup_gsi = 21
    get_free_pirq = 23
    pci_mmcfg_reserved = 24
    pci_device_add = 25
    pci_device_remove = 26
    restore_msi_ext = 27
    pirq_eoi_gmfn_v2 = 28
    dbgp_op = 29
    prepare_msix = 30
    release_msix = 31


class PhysdevEoi(NamedTuple):
    """End of the physical interrupt ``irq``."""

    irq: U32


PHYSDEV_EOI = Layout(PhysdevEoi, "struct physdev_eoi", HEADER)


class PhysdevIrqStatusQuery(NamedTuple):
    """Whether ``irq`` needs an EOI or is shared."""

    irq: U32
    flags: U32


PHYSDEV_IRQ_STATUS_QUERY = Layout(PhysdevIrqStatusQuery, "struct physdev_irq_status_query", HEADER)


class PhysdevMapPirq(NamedTuple):
    """Map a machine interrupt to a pirq of the domain."""

    domid: U16
    type: S32
    index_: S32
    pirq: S32
    bus: S32
    devfn: S32
    entry_nr: S32
    table_base: U64


PHYSDEV_MAP_PIRQ = Layout(PhysdevMapPirq, "struct physdev_map_pirq", HEADER, {"index_": "index"})


class PhysdevUnmapPirq(NamedTuple):
    """Undo map_pirq."""

    domid: U16
    pirq: S32


PHYSDEV_UNMAP_PIRQ = Layout(PhysdevUnmapPirq, "struct physdev_unmap_pirq", HEADER)


class PhysdevGetFreePirq(NamedTuple):
    """A pirq that is not in use."""

    type: S32
    pirq: U32


PHYSDEV_GET_FREE_PIRQ = Layout(PhysdevGetFreePirq, "struct physdev_get_free_pirq", HEADER)


class PhysdevPirqEoiGmfn(NamedTuple):
    """The frame of a bitmap that says which pirqs need an EOI."""

    gmfn: ULONG


PHYSDEV_PIRQ_EOI_GMFN = Layout(PhysdevPirqEoiGmfn, "struct physdev_pirq_eoi_gmfn", HEADER)


class PhysdevSetIopl(NamedTuple):
    """The I/O privilege level of a PV vCPU."""

    iopl: U32


PHYSDEV_SET_IOPL = Layout(PhysdevSetIopl, "struct physdev_set_iopl", HEADER)


class PhysdevSetIobitmap(NamedTuple):
    """The bitmap of the ports, one bit each, that a PV vCPU's programs may not use."""

    bitmap: ULONG
    nr_ports: U32


PHYSDEV_SET_IOBITMAP = Layout(PhysdevSetIobitmap, "struct physdev_set_iobitmap", HEADER)
