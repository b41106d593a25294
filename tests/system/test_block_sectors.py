"""Disks with blocks of 4 KiB, and disks that are zeroed, as Debian's own driver sees and writes them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .host import Host
from .terminal import Terminal
from .test_block import MIB, QUIET, SIZE, digest, md5, raw_image, vhd_image

pytestmark = pytest.mark.guest

BLOCK = 4096


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sectors")


@pytest.fixture(scope="module")
def device(images: Path) -> Iterator[Path]:
    """A block device of the host with blocks of 4 KiB."""
    file = raw_image(images / "large-blocks.img", content=os.urandom(4 * MIB))
    command = ["losetup", "--find", "--show", "--sector-size", str(BLOCK), str(file)]
    try:
        made = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the host gives us no loop device: {error}")
    yield Path(made)
    subprocess.run(["losetup", "--detach", made], check=True)


@pytest.fixture(scope="module")
def guest(shared_host: Host, images: Path, device: Path) -> Iterator[Terminal]:
    """The shell of a guest with that device, and with an empty VHD."""
    disks = [
        f"{device},raw,xvda,w",
        f"format=vhd,vdev=xvdb,access=rw,target={vhd_image(images / 'empty.vhd')}",
    ]
    shared_host.xl("create", shared_host.config("sectors", extra=QUIET, disk=disks))
    with shared_host.terminal("console", "sectors") as terminal:
        terminal.wait_for(b"# ")
        yield terminal
    shared_host.xl("destroy", "sectors")


def test_a_guest_sees_blocks_of_4_kib(guest: Terminal) -> None:
    queue = "/sys/block/xvda/queue"
    shown = guest.run(f"cat {queue}/logical_block_size {queue}/physical_block_size")
    assert shown.split() == ["4096", "4096"]
    assert int(guest.run("cat /sys/block/xvda/size")) * 512 == SIZE


def test_blocks_of_4_kib_are_read_and_written_where_they_belong(
    guest: Terminal, device: Path
) -> None:
    whole = f"dd if=/dev/xvda bs={BLOCK} count=1024"
    assert md5(guest, whole) == digest(device, "raw", 0, 4 * MIB)
    # Past the guest's cache a single block is a request of its own.
    guest.run(f"head -c {3 * BLOCK} /dev/urandom > /tmp/blocks", timeout=60)
    write = "dd if=/tmp/blocks of=/dev/xvda oflag=direct conv=notrunc"
    assert "3+0 records out" in guest.run(f"{write} bs={BLOCK} seek=77 2>&1")
    assert digest(device, "raw", 77 * BLOCK, 3 * BLOCK) == md5(guest, "cat /tmp/blocks")
    # One that is changed in part is read, changed and written by the guest.
    before = digest(device, "raw", 200 * BLOCK + 512, BLOCK - 512)
    guest.run("head -c 512 /tmp/blocks | dd of=/dev/xvda bs=512 seek=1600 conv=notrunc,fsync")
    assert digest(device, "raw", 200 * BLOCK, 512) == md5(guest, "head -c 512 /tmp/blocks")
    assert digest(device, "raw", 200 * BLOCK + 512, BLOCK - 512) == before


def test_zeroes_are_written_as_data_and_allocate_nothing(guest: Terminal, images: Path) -> None:
    """The protocol has no request for them, so the guest's kernel sends pages of zeroes."""
    assert guest.run("cat /sys/block/xvdb/queue/write_zeroes_max_bytes").strip() == "0"
    before = (images / "empty.vhd").stat().st_size
    guest.run("dd if=/dev/zero of=/dev/xvdb bs=1M count=8 oflag=direct", timeout=60)
    assert (images / "empty.vhd").stat().st_size == before
    assert digest(images / "empty.vhd", "vhd", 0, 8 * MIB) == md5(
        guest, "head -c 8388608 /dev/zero"
    )
