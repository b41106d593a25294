"""Lays the ACPI tables of a PVH domain out in guest memory, each where the others point."""

from __future__ import annotations

from dataclasses import dataclass

from xenolith.builder.acpi import tables
from xenolith.machine.address import GuestPhys

MOST_VCPUS = 4096
"""Processor objects that the naming in our DSDT has room for."""

_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class AcpiTables:
    """All tables as one block of bytes, to be loaded at ``address``.

    ``rsdp_address`` is where the root pointer lies within the block, ``rsdp`` a copy of it.
    """

    address: GuestPhys
    data: bytes
    rsdp_address: GuestPhys
    rsdp: bytes


def build_acpi_tables(address: GuestPhys, vcpus: int, max_vcpus: int) -> AcpiTables:
    """Build the tables of a domain that starts with ``vcpus`` of its ``max_vcpus`` online."""
    if not 1 <= vcpus <= max_vcpus <= MOST_VCPUS:
        raise ValueError(f"{vcpus} of {max_vcpus} vCPUs cannot be described")
    block = bytearray()

    def place(table: bytes) -> GuestPhys:
        block.extend(bytes(-len(block) % _ALIGNMENT))
        position = GuestPhys(address + len(block))
        block.extend(table)
        return position

    dsdt = place(tables.dsdt(vcpus, max_vcpus))
    fadt = place(tables.fadt(dsdt))
    madt = place(tables.madt(vcpus, max_vcpus))
    xsdt = place(tables.xsdt(fadt, madt))
    root = tables.rsdp(xsdt)
    root_address = place(root)
    return AcpiTables(address, bytes(block), root_address, root)
