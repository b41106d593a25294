"""Devices between daemon and domain process, where things go wrong: with a machine that has no devices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xenolith.storage.open import open_image
from xenolith.toolstack.client import ToolstackError
from xenolith.toolstack.config.disk import parse_disk
from xenolith.toolstack.config.plain import to_plain

from .host import Host


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    """An image that must be free again after the test."""
    path = tmp_path / "raw.img"
    path.write_bytes(bytes(1 << 20))
    yield path
    open_image(path, "raw", writable=True).close()


def with_disks(host: Host, *disks: str) -> dict[str, Any]:
    return {**host.config("web"), "disk": [to_plain(parse_disk(disk)) for disk in disks]}


def daemon_files(host: Host) -> int:
    return len(os.listdir(f"/proc/{host.daemon_pid()}/fd"))


def test_a_process_that_meets_a_bug_of_a_backend_ends_and_says_so(host: Host, image: Path) -> None:
    with host.connect() as toolstack:
        with pytest.raises(ToolstackError, match="has ended"):
            toolstack.create(with_disks(host, f"{image},raw,xvda,w"))
        assert [domain.domid for domain in toolstack.list()] == [0]


@pytest.mark.parametrize(
    ("disks", "sentence"),
    [
        (["IMAGE,raw,xvda,w", "IMAGE,raw,0xca00,w"], "is in use|two disks"),
        (["IMAGE,raw,xvda,r", "IMAGE,raw,51712,r"], "two disks are called 51712"),
        (["IMAGE,raw,xvda,w", "/nowhere.img,raw,xvdb,w"], "nowhere.img cannot be opened"),
        (["IMAGE,raw,xvda,w", "/dev/zero,raw,xvdb,w"], "neither a file nor a block device"),
        (["IMAGE,vhd,xvda,w"], "VHD"),
        (["IMAGE,raw,hde,w"], "not the name of a virtual disk"),
        (["IMAGE,raw,xvda,w,backend=storage"], "served by domain 0"),
        (["IMAGE,raw,xvda,w,script=block-iscsi"], "scripts are not run"),
        (["IMAGE,raw,xvda,w,specification=virtio"], "virtio is not supported"),
    ],
)
def test_disks_that_cannot_be_opened_leave_nothing(
    host: Host, image: Path, disks: list[str], sentence: str
) -> None:
    with host.connect() as toolstack:
        toolstack.list()
        before = daemon_files(host)
        with pytest.raises(ToolstackError, match=sentence):
            toolstack.create(
                with_disks(host, *(disk.replace("IMAGE", str(image)) for disk in disks))
            )
        assert [domain.domid for domain in toolstack.list()] == [0]
        assert daemon_files(host) == before


@pytest.mark.parametrize(
    ("method", "arguments", "sentence"),
    [
        ("attach_disk", ["nonsense", "/"], "missing, in 'nonsense'"),
        ("attach_disk", ["missing.img,raw,xvda,w", "/nowhere"], "/nowhere/missing.img cannot"),
        ("detach_disk", ["xvda"], "has no disk xvda"),
        ("detach_disk", ["floppy"], "not the name"),
        ("insert_medium", ["xvda", "/image"], "has no disk xvda"),
        ("eject_medium", ["xvda"], "has no disk xvda"),
        ("measure_disk", ["xvda"], "has no disk xvda"),
    ],
)
def test_requests_about_disks_that_make_no_sense_are_refused(
    host: Host, method: str, arguments: list[str], sentence: str
) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        with pytest.raises(ToolstackError, match=sentence):
            getattr(toolstack, method)(domid, *arguments)
        assert toolstack.devices(domid, "vbd") == []
