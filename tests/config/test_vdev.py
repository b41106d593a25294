"""Names and numbers of virtual disks."""

from __future__ import annotations

import pytest

from xenolith.toolstack.devices.vdev import device_number


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("xvda", 51712),
        ("xvda1", 51713),
        ("xvdp15", 0xCAFF),
        ("xvdq", 1 << 28 | 16 << 8),
        ("xvda16", 1 << 28 | 16),
        ("xvdaa", 1 << 28 | 26 << 8),
        ("d0", 51712),
        ("d16p3", 1 << 28 | 16 << 8 | 3),
        ("hda", 0x300),
        ("hdb2", 0x342),
        ("hdc", 0x1600),
        ("hdd63", 0x167F),
        ("sda", 0x800),
        ("sdp15", 0x8FF),
        ("51712", 51712),
        ("0xca10", 51728),
    ],
)
def test_numbers_are_those_of_xen_vbd_interface(name: str, number: int) -> None:
    assert device_number(name) == number


@pytest.mark.parametrize(
    "name",
    ["", "xvd", "xvda256", "sdq", "sda16", "hde", "hda64", "xvdzzzzz", "d1048576", "0x", "floppy",
     "XVDA", "4294967296", "0xffffffff", "xvda1p1", "\N{SUPERSCRIPT TWO}"],
)  # fmt: skip
def test_what_is_no_disk_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a virtual disk"):
        device_number(name)
