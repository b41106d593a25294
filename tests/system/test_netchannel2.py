"""netchannel2 between real guests: one of ours speaks it, Debian's netfront and the host are at the other end."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from guest.build import GuestBuilder

from .host import Host, eventually, read_until
from .terminal import Terminal

pytestmark = pytest.mark.guest

SOURCES = Path(__file__).parents[2] / "guests" / "netchannel2"
RESULTS = (b"Test result: SUCCESS", b"Test result: FAILURE")
DEBIAN, OURS = "10.9.1.1", "10.9.1.9"


def as_number(address: str) -> str:
    return hex(int.from_bytes(socket.inet_aton(address), "big"))


@pytest.fixture(scope="module")
def neighbour(shared_host: Host) -> Iterator[Terminal]:
    """The shell of a Debian guest on the network that ours is on."""
    shared_host.xl("create", shared_host.config("netif", vif=["bridge=nc2"]))
    with shared_host.terminal("console", "netif") as terminal:
        terminal.wait_for(b"# ", timeout=120)
        terminal.run(f"ip addr add {DEBIAN}/24 dev eth0; ip link set eth0 mtu 9000 up")
        yield terminal
    shared_host.xl("destroy", "netif")


@pytest.fixture
def host(shared_host: Host) -> Iterator[Host]:
    """The shared host; our guest is destroyed after the test."""
    yield shared_host
    if "nc2" in shared_host.names():
        shared_host.xl("destroy", "nc2")


def start(host: Host, tiny_guests: GuestBuilder, vif2: str, **options: object) -> None:
    kernel = str(tiny_guests.build_folder(SOURCES))
    cmdline = " ".join(f"{name}={value}" for name, value in options.items())
    config = host.config(
        "nc2", kernel=kernel, ramdisk="", memory=32, vcpus=4, vif2=[vif2], cmdline=cmdline,
        on_poweroff="preserve",
    )  # fmt: skip
    host.xl("create", config)


def report(host: Host) -> dict[str, int]:
    """Unplug our guest's interface; what it has counted."""
    host.xl("network-detach", "nc2", "0")
    with host.running_xl("console", "nc2") as console:
        text = read_until(console, RESULTS, timeout=30).decode()
    assert "Test result: SUCCESS" in text, text
    return {name: int(count) for name, count in re.findall(r"([a-z][a-z ]*?):? (\d+)", text)}


@pytest.mark.parametrize(
    "options",
    [{}, {"queues": 3, "order": 2, "offload": 0, "map": 1}, {"order": 4, "packets": 2}],
    ids=["one channel", "three channels, mapping", "large rings, few packets"],
)
def test_a_guest_talks_with_debians_netfront(
    host: Host, neighbour: Terminal, tiny_guests: GuestBuilder, options: dict[str, int]
) -> None:
    start(
        host, tiny_guests, "bridge=nc2", address=as_number(OURS), peer=as_number(DEBIAN),
        asks=30, largest=8900, **options,
    )  # fmt: skip
    with host.running_xl("console", "nc2") as console:
        read_until(console, b"30 packets, which is all", timeout=30)
    for size, count in ((56, 4), (1400, 4), (8900, 4)):
        answered = neighbour.run(f"ping -c {count} -i 0.1 -s {size} {OURS}")
        assert f"{count} packets received" in answered, answered
    counted = report(host)
    assert counted["echoed by us"] == 12
    assert counted["bad checksums"] == counted["dropped"] == 0
    assert counted["fragments"] > counted["finished"] > 20


@pytest.mark.skipif(shutil.which("passt") is None, reason="passt is absent")
def test_a_guest_talks_with_the_host_by_user_mode_networking(
    host: Host, tiny_guests: GuestBuilder
) -> None:
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    gateway = re.search(r"^default via ([0-9.]+)", routes, re.MULTILINE)
    if gateway is None:
        pytest.skip("the host has no default route")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        sizes: list[int] = []

        def echo() -> None:
            for _ in range(20):
                data, peer = server.recvfrom(1 << 16)
                sizes.append(len(data))
                server.sendto(data, peer)

        thread = threading.Thread(target=echo)
        thread.start()
        start(
            host, tiny_guests, "", peer=as_number(gateway[1]), port=server.getsockname()[1],
            largest=40_000,
        )  # fmt: skip
        with host.running_xl("console", "nc2") as console:
            read_until(console, b"20 packets, which is all", timeout=60)
        thread.join()
    assert sizes[0] == 2 and sizes[-1] == 40_000
    assert report(host)["bad checksums"] == 0


def test_the_interface_is_of_a_class_of_its_own(host: Host, tiny_guests: GuestBuilder) -> None:
    start(host, tiny_guests, "bridge=nc2,front_mac=00:16:3e:00:00:99")
    domid = host.row("nc2").domid
    row = host.xl("network-list", "nc2").splitlines()[1].split()
    assert row[:3] == ["0", "0", "00:16:3e:00:00:99"] and row[-1].endswith(f"/vif2/{domid}/0")
    eventually(lambda: host.xl("network-list", "nc2").splitlines()[1].split()[4] == "4")
    back = f"/local/domain/0/backend/vif2/{domid}/0"
    read = host.xenstore("xenstore-read", f"{back}/remote-mac", f"{back}/filter-mac").stdout
    assert read.split() == ["00:16:3e:00:00:99", "1"]
    assert not host.xl("dmesg").count("fatal error")
    report(host)


def test_debians_netfront_is_not_bothered(host: Host, neighbour: Terminal) -> None:
    host.xl("network-attach", "netif", "bridge=nc2", "protocol=netchannel2")
    rows = [line.split() for line in host.xl("network-list", "netif").splitlines()[1:]]
    assert [row[4] for row in rows] == ["4", "1"]
    assert neighbour.run("ls /sys/class/net | grep -c eth").strip() == "1"
    host.xl("network-detach", "netif", "1")
    assert len(host.xl("network-list", "netif").splitlines()) == 2
