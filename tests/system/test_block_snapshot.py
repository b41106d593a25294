"""The past of a disk in use: kept under another name, cloned, and given to another domain."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xenolith.builder.cloud_init import nocloud_seed
from xenolith.storage.open import open_image

from .host import Host

pytestmark = pytest.mark.guest

SIZE = 64 << 20
QUIET = "loglevel=3"


def vhd(*arguments: object) -> None:
    command = [sys.executable, "-m", "xenolith.cli.vhd", *map(str, arguments)]
    subprocess.run(command, check=True)


def disk(path: Path) -> str:
    return f"format=vhd,vdev=xvda,access=rw,target={path}"


def test_a_snapshot_of_a_running_guests_disk_is_cloned_and_booted(
    host: Host, tmp_path: Path
) -> None:
    path, kept, clone = (tmp_path / name for name in ("disk.vhd", "kept.vhd", "clone.vhd"))
    vhd("create", path, SIZE)
    host.xl("create", host.config("web", extra=QUIET, disk=[disk(path)]))
    with host.terminal("console", "web") as guest:
        guest.wait_for(b"# ")
        guest.run("echo before | dd of=/dev/xvda conv=fsync 2>/dev/null")
        host.xl("block-snapshot", "web", "xvda", kept)
        guest.run("echo after | dd of=/dev/xvda conv=fsync 2>/dev/null")
        refused = host.try_xl("block-snapshot", "web", "xvda", kept)
        assert refused.returncode == 1
        assert f"{kept} exists already" in refused.stderr
        # The guest goes on meanwhile, and its disk keeps its name.
        vhd("snapshot", kept, clone)
        host.xl("create", host.config("clone", extra=QUIET, disk=[disk(clone)]))
        with host.terminal("console", "clone") as other:
            other.wait_for(b"# ")
            assert other.run("head -n1 /dev/xvda").strip() == "before"
        assert guest.run("head -n1 /dev/xvda").strip() == "after"
    host.xl("destroy", "web")
    host.xl("create", host.config("web", extra=QUIET, disk=[disk(path)]))
    with host.terminal("console", "web") as guest:
        guest.wait_for(b"# ")
        assert guest.run("head -n1 /dev/xvda").strip() == "after"
    assert sorted(os.listdir(tmp_path)) == ["clone.vhd", "disk.vhd", "kept.vhd"]


def test_only_vhds_that_are_written_to_have_snapshots(host: Host, tmp_path: Path) -> None:
    raw = tmp_path / "disk.raw"
    raw.write_bytes(bytes(SIZE))
    disks = [f"{raw},raw,xvda,w"]
    host.xl("create", host.config("web", extra=QUIET, disk=disks))
    for name, sentence in (("xvda", "is no VHD"), ("xvdb", "has no disk"), ("x", "not the name")):
        refused = host.try_xl("block-snapshot", "web", name, tmp_path / "kept.vhd")
        assert refused.returncode == 1
        assert sentence in refused.stderr
    assert os.listdir(tmp_path) == ["disk.raw"]


def test_a_snapshot_that_cannot_be_named_leaves_the_disk_as_it_was(
    host: Host, tmp_path: Path
) -> None:
    path = tmp_path / "disk.vhd"
    vhd("create", path, SIZE)
    host.xl("create", host.config("web", extra=QUIET, disk=[disk(path)]))
    with host.terminal("console", "web") as guest:
        guest.wait_for(b"# ")
        for kept in ("/proc/kept.vhd", tmp_path / "missing" / "kept.vhd"):
            refused = host.try_xl("block-snapshot", "web", "xvda", kept)
            assert refused.returncode == 1
            assert "cannot be kept as" in refused.stderr
        guest.run("echo written | dd of=/dev/xvda conv=fsync 2>/dev/null")
        assert os.listdir(tmp_path) == ["disk.vhd"]
    host.xl("destroy", "web")
    image = open_image(path, "vhd", writable=True)
    data = memoryview(bytearray(512))
    image.readv([data], 0)
    image.close()
    assert bytes(data[:8]) == b"written\n"


def test_a_guest_finds_its_seed(host: Host, tmp_path: Path) -> None:
    user_data = tmp_path / "user-data.yaml"
    user_data.write_bytes(b"#cloud-config\nhostname: example\n")
    host.xl("create", host.config("seeded", extra=QUIET, cloud_init=str(user_data)))
    with host.terminal("console", "seeded") as guest:
        guest.wait_for(b"# ")
        size = len(nocloud_seed(user_data.read_bytes(), "seeded"))
        assert guest.run("cat /sys/block/xvda/size").strip() == str(size // 512)
        assert guest.run("cat /sys/block/xvda/ro").strip() == "1"
        assert "hostname: example" in guest.run("strings /dev/xvda")
    user_data.unlink()
    missing = host.try_xl("create", host.config("again", cloud_init=str(user_data)))
    assert missing.returncode == 1
    assert "cloud_init" in missing.stderr
