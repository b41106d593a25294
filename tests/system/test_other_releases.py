"""The kernels of other releases of Debian than this machine's, from the oldest that is supported to the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenolith.builder.assets import Guest

from .foreign_apt import fetch_guest
from .host import READY, Host


@pytest.fixture(scope="module", params=["bullseye", "trixie", "sid"])
def guest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """A guest of a release's cloud kernel."""
    return fetch_guest(tmp_path_factory.mktemp(request.param), request.param, "amd64", "cloud")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pvh", "pv"])
def test_a_kernel_comes_up_complains_of_nothing_and_shuts_down(
    own_host: Host, guest: Guest, tmp_path: Path, kind: str
) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(range(256)) * 4096)
    config = own_host.config(
        "other", type=kind, kernel=str(guest.kernel), ramdisk=str(guest.ramdisk), vcpus=2,
        disk=[f"{image},raw,xvda,w"],
    )  # fmt: skip
    own_host.xl("create", config)
    with own_host.terminal("console", "other") as terminal:
        messages = terminal.wait_for(READY)
        assert b"Linux version " in messages
        assert b"WARNING" not in messages and b"Call Trace" not in messages
        terminal.wait_for(b"# ")
        terminal.run("dd if=/bin/busybox of=/dev/xvda bs=4k count=64 conv=fsync", timeout=60)
        wanted = terminal.run("head -c 262144 /bin/busybox | md5sum")
        assert terminal.run("head -c 262144 /dev/xvda | md5sum") == wanted
    own_host.xl("shutdown", "-w", "other")
    assert "other" not in own_host.names()
