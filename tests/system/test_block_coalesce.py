"""Files of a disk in use go into their parents, while the guest writes to it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_file
from xenolith.storage.open import open_image
from xenolith.storage.vhd.create import vhd_parent
from xenolith.storage.vhd.rewrite import reparent

from .host import Host, kill
from .terminal import Terminal

pytestmark = pytest.mark.guest

SIZE = 32 << 20
PIECE = 4 << 20


def vhd(*arguments: object) -> None:
    command = [sys.executable, "-m", "xenolith.cli.vhd", *map(str, arguments)]
    subprocess.run(command, check=True)


def create(host: Host, path: Path) -> None:
    disk = f"format=vhd,vdev=xvda,access=rw,target={path}"
    host.xl("create", host.config("web", extra="loglevel=3", disk=[disk]))


def write(guest: Terminal, at: int, count: int) -> None:
    """Put random data on the guest's disk, at and of so many MiB."""
    guest.run(
        f"dd if=/dev/urandom of=/dev/xvda bs=1M seek={at} count={count} conv=fsync 2>/dev/null",
    )


def checksum_in_guest(guest: Terminal) -> str:
    guest.run("echo 3 > /proc/sys/vm/drop_caches")
    return guest.run("md5sum < /dev/xvda", timeout=60).split()[0]


def checksum(path: Path, image_format: str = "vhd") -> str:
    image = open_image(path, image_format, writable=False)
    found, buffer = hashlib.md5(), memoryview(bytearray(PIECE))
    for offset in range(0, SIZE, PIECE):
        image.readv([buffer], offset)
        found.update(buffer)
    image.close()
    return found.hexdigest()


def leaf_of(host: Host) -> str:
    (domain,) = json.loads(host.xl("list", "-l", "web"))
    (disk,) = domain["config"]["disks"]
    target: str = disk["pdev_path"]
    return target


@pytest.mark.parametrize("base", ["vhd", "raw"])
def test_a_disk_is_coalesced_while_its_guest_writes(host: Host, tmp_path: Path, base: str) -> None:
    path = tmp_path / "disk.vhd"
    names = [tmp_path / f"base.{base}", tmp_path / "monday.vhd"]
    if base == "raw":
        names[0].write_bytes(bytes(SIZE))
        vhd("snapshot", "--raw", names[0], path)
    else:
        vhd("create", names[0], SIZE)
        vhd("snapshot", names[0], path)
    create(host, path)
    with host.terminal("console", "web") as guest:
        guest.wait_for(b"# ")
        write(guest, 0, 8)
        host.xl("block-snapshot", "web", "xvda", names[1])
        write(guest, 4, 12)
        guest.run(
            "( while [ ! -e /stop ]; do"
            " dd if=/dev/urandom of=/dev/xvda bs=64k seek=$((RANDOM % 500)) count=4 conv=fsync;"
            " done ) 2>/dev/null & true"
        )
        host.xl("block-coalesce", "web", "xvda", names[1])
        # Nobody has it open any more.
        names[1].unlink()
        assert leaf_of(host) == str(path)
        host.xl("block-coalesce", "web", "xvda")
        assert leaf_of(host) == str(names[0])
        guest.run("touch /stop; wait")
        expected = checksum_in_guest(guest)
    refused = host.try_xl("block-coalesce", "web", "xvda")
    assert refused.returncode == 1
    assert ("has no parent" if base == "vhd" else "is no VHD") in refused.stderr
    host.xl("destroy", "web")
    # What was the leaf is empty, and shows the same disk, as its parent does.
    assert checksum(names[0], base) == expected
    assert checksum(path) == expected


def test_a_daemon_that_dies_before_it_takes_note_does_no_harm(
    own_host: Host, tmp_path: Path
) -> None:
    host, base, path, kept = own_host, *(tmp_path / name for name in ("base", "disk", "kept"))
    vhd("create", base, SIZE)
    vhd("snapshot", base, path)
    create(host, path)
    with host.terminal("console", "web") as guest:
        guest.wait_for(b"# ")
        write(guest, 0, 4)
        (record,) = (host.run_dir / "domains").glob("*.json")
        before = record.read_bytes()
        host.xl("block-coalesce", "web", "xvda")
        kill(host.daemon_pid())
        assert json.loads(before)["pid"] == json.loads(record.read_bytes())["pid"]
        record.write_bytes(before)
        write(guest, 2, 4)
        assert leaf_of(host) == str(path)
        host.xl("block-snapshot", "web", "xvda", kept)
        assert leaf_of(host) == str(base)
        expected = checksum_in_guest(guest)
        write(guest, 0, 1)
    host.xl("destroy", "web")
    assert checksum(kept) == expected
    assert checksum(base) != expected


def test_what_is_no_file_of_a_disk_with_a_parent_is_refused(host: Host, tmp_path: Path) -> None:
    base, path, other = (tmp_path / name for name in ("base", "disk", "other"))
    vhd("create", base, SIZE)
    vhd("snapshot", base, path)
    create(host, path)
    for arguments, sentence in (
        (("xvdb",), "has no disk xvdb"),
        (("xvda", other), f"{other} is not one of the disk's files: {path}, {base}"),
        (("xvda", base), f"{base} has no parent"),
    ):
        refused = host.try_xl("block-coalesce", "web", *arguments)
        assert refused.returncode == 1
        assert sentence in refused.stderr
    vhd("snapshot", base, other)
    reader = open_image(other, "vhd", writable=True)
    refused = host.try_xl("block-coalesce", "web", "xvda")
    reader.close()
    assert refused.returncode == 1
    assert f"{base} is in use" in refused.stderr
    host.xl("block-coalesce", "web", "xvda")


def test_what_a_header_names_is_not_written_unless_the_domain_was_given_it(
    host: Host, tmp_path: Path
) -> None:
    base, path, other = (tmp_path / name for name in ("base", "disk", "other"))
    vhd("create", base, SIZE)
    vhd("snapshot", base, path)
    vhd("create", other, SIZE)
    before = other.read_bytes()
    create(host, path)
    # As a guest might that broke out of its engine: its process may write the file.
    file, parent = open_file(path, Access.WRITE), open_file(other, Access.READ)
    reparent(file, vhd_parent(parent))
    file.close()
    parent.close()
    refused = host.try_xl("block-coalesce", "web", "xvda")
    assert refused.returncode == 1
    assert f"{path} has no parent" in refused.stderr
    assert other.read_bytes() == before
