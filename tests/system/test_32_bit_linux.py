"""Debian's 32-bit kernel as a PVH domain: all that it asks of Xen it asks by the ABI of i386."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from xenolith.builder import assets
from xenolith.builder.assets import Guest

from .foreign_apt import fetch_guest
from .host import READY, Host, read_until

pytestmark = [pytest.mark.guest, pytest.mark.slow]

BOOT = 240


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """Debian 12's kernel and busybox for i386."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(assets.FLAVOURS, "686", "linux-image-686-pae")
        return fetch_guest(tmp_path_factory.mktemp("i386"), "bookworm", "i386", "686")


def test_it_comes_up_reads_its_disk_and_shuts_down(
    own_host: Host, guest: Guest, tmp_path: Path
) -> None:
    content = random.Random(1).randbytes(2 << 20)
    disk = tmp_path / "disk.img"
    disk.write_bytes(content)
    kernel, ramdisk = str(guest.kernel), str(guest.ramdisk)
    config = own_host.config(
        "i386", kernel=kernel, ramdisk=ramdisk, vcpus=2, disk=[f"{disk},raw,xvda,r"]
    )
    own_host.xl("create", config)
    with own_host.terminal("console", "i386") as terminal:
        terminal.wait_for(READY, BOOT)
        terminal.wait_for(b"# ")
        assert terminal.run("uname -m") == "i686\n"
        assert terminal.run("nproc") == "2\n"
        assert hashlib.md5(content).hexdigest() in terminal.run("md5sum /dev/xvda")
    with own_host.running_xl("strace", "i386") as trace:
        read_until(trace, b"timeout_abs_ns=+")
    own_host.xl("shutdown", "-w", "i386")
    assert "i386" not in own_host.names()
