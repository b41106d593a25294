"""Debian 13's kernel, whatever release this machine runs."""

from __future__ import annotations

import pytest

from xenolith.builder.assets import Guest

from .foreign_apt import fetch_guest
from .host import READY, Host


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """A guest of the release's cloud kernel."""
    return fetch_guest(tmp_path_factory.mktemp("trixie"), "trixie", "amd64", "cloud")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pvh", "pv"])
def test_debian_13s_kernel_comes_up_and_shuts_down(own_host: Host, guest: Guest, kind: str) -> None:
    config = own_host.config(
        "trixie", type=kind, kernel=str(guest.kernel), ramdisk=str(guest.ramdisk), vcpus=2
    )
    own_host.xl("create", config)
    with own_host.terminal("console", "trixie") as terminal:
        assert b"Linux version 6.12." in terminal.wait_for(READY)
        terminal.wait_for(b"# ")
    own_host.xl("shutdown", "-w", "trixie")
    assert "trixie" not in own_host.names()
