"""The ACPI tables of a PVH domain as bytes: RSDP, XSDT, FADT, MADT and DSDT.

Chapter 5 of the ACPI Specification 6.3 defines them. The machine is hardware-reduced: it has no
SCI, no PM timer and no other fixed hardware but the registers to reset and to power off.
"""

from __future__ import annotations

import struct

from xenolith.abi.acpi_ports import (
    RESET_PORT,
    RESET_VALUE,
    SLEEP_CONTROL_PORT,
    SLEEP_STATUS_PORT,
    SLEEP_TYPE_S5,
)
from xenolith.builder.acpi import aml

_OEM_ID = b"Xen"
_OEM_TABLE_ID = b"XENOLITH"
_CREATOR_ID = b"XNLT"
_REVISION = 1

_HEADER = struct.Struct("<4sIBB6s8sI4sI")
_CHECKSUM_OFFSET = 9

_RSDP = struct.Struct("<8sB6sBIIQB3x")
_RSDP_CHECKSUM_OFFSET = 8
_RSDP_EXTENDED_CHECKSUM_OFFSET = 32
_RSDP_V1_SIZE = 20
RSDP_SIZE = _RSDP.size

_FADT_SIZE = 276
_FADT_REVISION = 6
_FADT_MINOR_REVISION = 3
_FADT_VGA_NOT_PRESENT = 1 << 2
_FADT_CMOS_RTC_NOT_PRESENT = 1 << 5
_FADT_WBINVD = 1 << 0
_FADT_PROC_C1 = 1 << 2
_FADT_POWER_BUTTON_NOT_FIXED = 1 << 4
_FADT_SLEEP_BUTTON_NOT_FIXED = 1 << 5
_FADT_RESET_REG_SUP = 1 << 10
_FADT_HW_REDUCED_ACPI = 1 << 20

_GENERIC_ADDRESS = struct.Struct("<BBBBQ")
_SYSTEM_IO, _BYTE_ACCESS = 1, 1

_MADT_REVISION = 5
_LOCAL_APIC_ADDRESS = 0xFEE0_0000
_LOCAL_APIC = struct.Struct("<BBBBI")
_LOCAL_X2APIC = struct.Struct("<BB2xIII")
_HIGHEST_LOCAL_APIC_ID = 254
_APIC_ENABLED = 1 << 0
_APIC_ONLINE_CAPABLE = 1 << 1

_DSDT_REVISION = 2
_PROCESSOR_DEVICE = "ACPI0007"
_STATUS_PRESENT = 0xF
_STATUS_ABSENT = 0


def local_apic_id(vcpu: int) -> int:
    """The APIC id of a vCPU; Xen leaves the odd ids unused."""
    return vcpu * 2


def rsdp(xsdt_address: int) -> bytes:
    """The root pointer, revision 2, to the XSDT at a guest-physical address."""
    data = bytearray(
        _RSDP.pack(b"RSD PTR ", 0, _OEM_ID, 2, 0, RSDP_SIZE, xsdt_address, 0),
    )
    data[_RSDP_CHECKSUM_OFFSET] = _checksum(data[:_RSDP_V1_SIZE])
    data[_RSDP_EXTENDED_CHECKSUM_OFFSET] = _checksum(data)
    return bytes(data)


def xsdt(*addresses: int) -> bytes:
    """The table of the guest-physical addresses of the other tables, except the DSDT."""
    return _table(b"XSDT", 1, struct.pack(f"<{len(addresses)}Q", *addresses))


def fadt(dsdt_address: int) -> bytes:
    """The fixed description of a machine whose only hardware is to reset and to power off."""
    body = bytearray(_FADT_SIZE - _HEADER.size)

    def put(offset: int, form: str, value: int) -> None:
        struct.pack_into(form, body, offset - _HEADER.size, value)

    put(40, "<I", dsdt_address)
    put(109, "<H", _FADT_VGA_NOT_PRESENT | _FADT_CMOS_RTC_NOT_PRESENT)
    put(
        112,
        "<I",
        _FADT_WBINVD
        | _FADT_PROC_C1
        | _FADT_POWER_BUTTON_NOT_FIXED
        | _FADT_SLEEP_BUTTON_NOT_FIXED
        | _FADT_RESET_REG_SUP
        | _FADT_HW_REDUCED_ACPI,
    )
    put(128, "<B", RESET_VALUE)
    put(131, "<B", _FADT_MINOR_REVISION)
    put(140, "<Q", dsdt_address)
    for offset, port in ((116, RESET_PORT), (244, SLEEP_CONTROL_PORT), (256, SLEEP_STATUS_PORT)):
        address = _GENERIC_ADDRESS.pack(_SYSTEM_IO, 8, 0, _BYTE_ACCESS, port)
        body[offset - _HEADER.size : offset - _HEADER.size + len(address)] = address
    return _table(b"FACP", _FADT_REVISION, bytes(body))


def madt(vcpus: int, max_vcpus: int) -> bytes:
    """The local APICs: ``vcpus`` of them enabled, the others up to ``max_vcpus`` for hotplug."""
    entries = [
        _local_apic(vcpu, _APIC_ENABLED if vcpu < vcpus else _APIC_ONLINE_CAPABLE)
        for vcpu in range(max_vcpus)
    ]
    no_flags = 0
    head = struct.pack("<II", _LOCAL_APIC_ADDRESS, no_flags)
    return _table(b"APIC", _MADT_REVISION, head + b"".join(entries))


def _local_apic(vcpu: int, flags: int) -> bytes:
    apic_id = local_apic_id(vcpu)
    if apic_id <= _HIGHEST_LOCAL_APIC_ID:
        return _LOCAL_APIC.pack(0, _LOCAL_APIC.size, vcpu, apic_id, flags)
    return _LOCAL_X2APIC.pack(9, _LOCAL_X2APIC.size, apic_id, flags, vcpu)


def dsdt(vcpus: int, max_vcpus: int) -> bytes:
    """The soft-off state and the processor objects; those of vCPUs that are offline at boot say so in _STA."""
    processors = [
        _processor(vcpu, _STATUS_PRESENT if vcpu < vcpus else _STATUS_ABSENT)
        for vcpu in range(max_vcpus)
    ]
    soft_off = aml.name("\\_S5", aml.package(aml.integer(SLEEP_TYPE_S5), aml.integer(0)))
    return _table(b"DSDT", _DSDT_REVISION, soft_off + aml.scope("\\_SB", *processors))


def _processor(vcpu: int, status: int) -> bytes:
    return aml.device(
        f"C{vcpu:03X}",
        aml.name("_HID", aml.string(_PROCESSOR_DEVICE)),
        aml.name("_UID", aml.integer(vcpu)),
        aml.name("_STA", aml.integer(status)),
    )


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    """Put the common header before a table's body and make the sum of all bytes zero."""
    header = _HEADER.pack(
        signature,
        _HEADER.size + len(body),
        revision,
        0,
        _OEM_ID,
        _OEM_TABLE_ID,
        _REVISION,
        _CREATOR_ID,
        _REVISION,
    )
    table = bytearray(header + body)
    table[_CHECKSUM_OFFSET] = _checksum(table)
    return bytes(table)


def _checksum(data: bytes | bytearray) -> int:
    return -sum(data) & 0xFF
