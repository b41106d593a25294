"""Disks in formats of qemu's in real guests, served by qemu-nbd, while that is there and when it goes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from .host import Host, eventually

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(
        shutil.which("qemu-nbd") is None or shutil.which("qemu-img") is None,
        reason="needs qemu-nbd and qemu-img",
    ),
]

QUIET = "loglevel=0"


def make(path: Path) -> str:
    """A new qcow2, and the disk of it."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "64M"], check=True)
    return f"format=qcow2,vdev=xvda,access=rw,target={path}"


def server_of(path: Path) -> int | None:
    """The process of the qemu-nbd that serves an image."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"qemu-nbd") and os.fsencode(path) in words:
            return int(entry.parent.name)
    return None


def test_what_a_guest_writes_is_in_the_qcow2(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    host.xl("create", host.config("foreign", extra=QUIET, disk=[make(path)]))
    with host.terminal("console", "foreign") as guest:
        guest.wait_for(b"# ")
        guest.run("dd if=/dev/urandom of=/dev/xvda bs=1M count=4 conv=fsync 2>/dev/null")
        digest = guest.run("head -c 4194304 /dev/xvda | md5sum").split()[0]
        guest.run("echo 3 > /proc/sys/vm/drop_caches")
        assert guest.run("head -c 4194304 /dev/xvda | md5sum").split()[0] == digest
    host.xl("destroy", "foreign")
    eventually(lambda: server_of(path) is None)
    raw = tmp_path / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(path), str(raw)], check=True)
    read = subprocess.run(
        ["md5sum"], input=raw.read_bytes()[: 4 << 20], capture_output=True, check=True
    )
    assert read.stdout.decode().split()[0] == digest


def test_a_server_that_is_killed_gives_errors_until_the_guest_reboots(
    host: Host, tmp_path: Path
) -> None:
    path = tmp_path / "disk.qcow2"
    host.xl("create", host.config("foreign", extra=QUIET, disk=[make(path)]))
    with host.terminal("console", "foreign") as guest:
        guest.wait_for(b"# ")
        guest.run("echo kept | dd of=/dev/xvda conv=fsync 2>/dev/null")
        server = server_of(path)
        assert server is not None
        os.kill(server, signal.SIGKILL)
        failed = guest.run("dd if=/dev/xvda of=/dev/null bs=1M skip=8 count=1; echo status $?")
        assert "status 1" in failed
        assert guest.run("echo alive").strip() == "alive"
    domid = host.row("foreign").domid
    host.xl("reboot", "-w", "foreign")
    eventually(lambda: host.row("foreign").domid > domid)
    with host.terminal("console", "foreign") as guest:
        guest.wait_for(b"# ")
        assert guest.run("head -n1 /dev/xvda").strip() == "kept"


def test_a_creation_that_fails_leaves_no_server(host: Host, tmp_path: Path) -> None:
    path, absent = tmp_path / "disk.qcow2", tmp_path / "absent.qcow2"
    disks = [make(path), f"format=qcow2,vdev=xvdb,access=rw,target={absent}"]
    failed = host.try_xl("create", host.config("foreign", disk=disks))
    assert failed.returncode == 1
    assert "absent.qcow2 cannot be opened" in failed.stderr
    eventually(lambda: server_of(path) is None)


def test_a_domain_that_is_destroyed_as_it_is_made_leaves_no_server(
    host: Host, tmp_path: Path
) -> None:
    """Its process may never have got as far as to its disks."""
    path = tmp_path / "disk.qcow2"
    config = host.config("foreign", disk=[make(path)])
    with host.running_xl("create", config):
        eventually(lambda: server_of(path) is not None)
        host.try_xl("destroy", "foreign")
    eventually(lambda: server_of(path) is None)
