"""ACPI tables, checked against the specification and, where installed, by Intel's iasl."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.abi import acpi_ports
from xenolith.builder.acpi import aml, tables
from xenolith.builder.acpi.build import MOST_VCPUS, build_acpi_tables
from xenolith.machine.address import GuestPhys

ADDRESS = GuestPhys(0xFC00_0000)
IASL = shutil.which("iasl")


@pytest.mark.parametrize(
    ("path", "encoded"),
    [
        ("_HID", b"_HID"),
        ("C0", b"C0__"),
        ("\\_SB", b"\\_SB_"),
        ("_SB.C000", b"\x2e_SB_C000"),
        ("\\_SB.C000._STA", b"\\\x2f\x03_SB_C000_STA"),
    ],
)
def test_names(path: str, encoded: bytes) -> None:
    assert aml.name_string(path) == encoded


@pytest.mark.parametrize("path", ["", "LONGER", "a", "1ABC", "A-B", "_SB..C000"])
def test_a_name_that_acpi_does_not_know_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not an ACPI name segment"):
        aml.name_string(path)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, b"\x00"),
        (1, b"\x01"),
        (0xFF, b"\x0a\xff"),
        (0x100, b"\x0b\x00\x01"),
        (0x1_0000, b"\x0c\x00\x00\x01\x00"),
        (1 << 32, b"\x0e" + (1 << 32).to_bytes(8, "little")),
    ],
)
def test_integers_take_their_shortest_form(value: int, encoded: bytes) -> None:
    assert aml.integer(value) == encoded


def decode_package_length(data: bytes) -> int:
    """The reverse of package_length, as chapter 20.2.4 gives it."""
    following = data[0] >> 6
    assert len(data) == 1 + following
    if following == 0:
        return data[0] & 0x3F
    return data[0] & 0xF | int.from_bytes(data[1:], "little") << 4


@given(st.integers(0, (1 << 28) - 5))
def test_package_lengths_count_themselves(size: int) -> None:
    encoded = aml.package_length(size)
    assert decode_package_length(encoded) == size + len(encoded)


@pytest.mark.parametrize("size", [62, 63, 4093, 4094, (1 << 20) - 4, (1 << 20) - 3])
def test_package_lengths_at_their_limits(size: int) -> None:
    encoded = aml.package_length(size)
    assert decode_package_length(encoded) == size + len(encoded)


def test_an_endless_package_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        aml.package_length(1 << 28)


@given(vcpus=st.integers(1, 300), more=st.integers(0, 300))
def test_every_table_is_reachable_and_sums_to_zero(vcpus: int, more: int) -> None:
    acpi = build_acpi_tables(ADDRESS, vcpus, vcpus + more)

    def table(address: int) -> bytes:
        start = address - acpi.address
        (length,) = struct.unpack_from("<I", acpi.data, start + 4)
        data = acpi.data[start : start + length]
        assert len(data) == length
        assert sum(data) & 0xFF == 0
        return data

    root = acpi.data[acpi.rsdp_address - acpi.address :]
    assert root == acpi.rsdp
    assert sum(root[:20]) & 0xFF == sum(root) & 0xFF == 0
    xsdt = table(*struct.unpack_from("<Q", root, 24))
    fadt, madt = (table(address) for address in struct.unpack_from("<2Q", xsdt, 36))
    dsdt = table(*struct.unpack_from("<Q", fadt, 140))
    names = [xsdt[:4], fadt[:4], madt[:4], dsdt[:4]]
    assert names == [b"XSDT", b"FACP", b"APIC", b"DSDT"]


def processors(madt: bytes) -> dict[int, tuple[int, int]]:
    """APIC id and flags by processor UID."""
    found = {}
    at = 44
    while at < len(madt):
        kind, length = madt[at], madt[at + 1]
        if kind == 0:
            uid, apic_id, flags = struct.unpack_from("<BBI", madt, at + 2)
        else:
            assert kind == 9
            apic_id, flags, uid = struct.unpack_from("<III", madt, at + 4)
            assert apic_id > 254
        found[uid] = (apic_id, flags)
        at += length
    return found


def test_processors_beyond_apic_id_254_have_x2apic_entries() -> None:
    found = processors(tables.madt(vcpus=3, max_vcpus=200))
    assert list(found) == list(range(200))
    assert all(apic_id == 2 * uid for uid, (apic_id, _) in found.items())
    assert [flags for _, flags in found.values()] == [1] * 3 + [2] * 197


def register(fadt: bytes, offset: int) -> tuple[int, ...]:
    """A Generic Address Structure: space, width, bit offset, access size, address."""
    return struct.unpack_from("<BBBBQ", fadt, offset)


def test_the_only_hardware_is_to_power_off_and_to_reset() -> None:
    fadt = tables.fadt(0xFC00_0000)
    (boot_flags,) = struct.unpack_from("<H", fadt, 109)
    (flags,) = struct.unpack_from("<I", fadt, 112)
    assert boot_flags == 1 << 2 | 1 << 5
    assert flags >> 20 & 1, "hardware-reduced"
    assert flags >> 10 & 1, "with a reset register"
    io_byte = (1, 8, 0, 1)
    assert register(fadt, 116) == (*io_byte, acpi_ports.RESET_PORT)
    assert fadt[128] == acpi_ports.RESET_VALUE
    assert register(fadt, 244) == (*io_byte, acpi_ports.SLEEP_CONTROL_PORT)
    assert register(fadt, 256) == (*io_byte, acpi_ports.SLEEP_STATUS_PORT)
    assert fadt[148:244] == bytes(96), "no other register has an address"


def test_packages_hold_their_elements() -> None:
    assert aml.package(aml.integer(5), aml.integer(0)) == b"\x12\x05\x02\x0a\x05\x00"
    assert aml.package() == b"\x12\x02\x00"


@pytest.mark.parametrize(("vcpus", "max_vcpus"), [(0, 1), (2, 1), (1, MOST_VCPUS + 1)])
def test_an_impossible_number_of_vcpus_is_refused(vcpus: int, max_vcpus: int) -> None:
    with pytest.raises(ValueError, match="cannot be described"):
        build_acpi_tables(ADDRESS, vcpus, max_vcpus)


@pytest.mark.skipif(IASL is None, reason="iasl (acpica-tools) is not installed")
@pytest.mark.parametrize("name", ["dsdt", "fadt", "madt", "xsdt"])
def test_iasl_disassembles_and_recompiles(name: str, tmp_path: Path) -> None:
    assert IASL is not None
    table = {
        "dsdt": tables.dsdt(100, 130),
        "fadt": tables.fadt(0xFC00_0000),
        "madt": tables.madt(100, 130),
        "xsdt": tables.xsdt(0xFC00_0040, 0xFC00_0080),
    }[name]
    path = tmp_path / f"{name}.dat"
    path.write_bytes(table)
    for command in ([IASL, "-d", str(path)], [IASL, str(path.with_suffix(".dsl"))]):
        run = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert run.returncode == 0, run.stdout
        assert not re.search(r"(?<!\b0 )(Error|Warning|Invalid|Incorrect)", run.stdout), run.stdout
    source = re.sub(r"//.*|\s+", " ", path.with_suffix(".dsl").read_text())
    if name == "dsdt":
        assert source.count('"ACPI0007"') == 130
        assert source.count("Name (_STA, 0x0F)") == 100
        assert "Name (_UID, 0x81)" in source
        assert re.search(r"Name \(\\_S5, Package \(0x02\) +{ 0x05, Zero }\)", source)
