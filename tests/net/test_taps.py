"""Taps of the host: made on a bridge, gone with their descriptor. For root only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from xenolith.net import tap
from xenolith.net.errors import NetError

BRIDGE = f"xtb{os.getpid()}"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes taps"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="ip(8) is absent (iproute2)"),
]


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def bridge() -> Iterator[str]:
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no bridges here: {error.stderr.strip()}")
    yield BRIDGE
    ip("link", "del", BRIDGE)


def test_a_tap_is_a_port_of_its_bridge_until_it_is_closed(bridge: str) -> None:
    assert tap.is_bridge(bridge)
    fd = tap.open_tap("xttap0", bridge, 1400)
    shown = ip("link", "show", "xttap0")
    assert f"master {bridge}" in shown and "mtu 1400" in shown and ",UP" in shown
    os.close(fd)
    assert not Path("/sys/class/net/xttap0").exists()


def test_what_is_no_bridge_is_not_taken_for_one() -> None:
    assert not tap.is_bridge("lo")
    assert not tap.is_bridge("no such")
    assert not tap.is_bridge("../net/lo")


def test_what_cannot_be_made_is_named_and_leaves_nothing(bridge: str) -> None:
    with pytest.raises(NetError, match="the tap xttap1 on bridge nobridge0 cannot be made"):
        tap.open_tap("xttap1", "nobridge0", None)
    assert not Path("/sys/class/net/xttap1").exists()
    with pytest.raises(NetError, match="is not a name"):
        tap.open_tap("a-name-that-is-too-long", bridge, None)
