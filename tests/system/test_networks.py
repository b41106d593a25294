"""Networks of real guests: Debian's own netfront talks to the host, to other domains, and to bridges."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from .host import Host, eventually, kill, read_until
from .terminal import Terminal

pytestmark = pytest.mark.guest

needs_passt = pytest.mark.skipif(shutil.which("passt") is None, reason="passt is absent")
needs_tcpdump = pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is absent")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes taps")

PAYLOAD = os.urandom(8 << 20)
DIGEST = hashlib.md5(PAYLOAD).hexdigest()
GATEWAY = "$(ip route | sed -n 's/default via \\([0-9.]*\\) .*/\\1/p')"


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives a payload, and takes one and says its digest."""

    def do_GET(self) -> None:
        self._answer(PAYLOAD)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(hashlib.md5(body).hexdigest().encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def host(shared_host: Host) -> Iterator[Host]:
    """The shared host; every domain that a test has made is destroyed after it."""
    before = shared_host.names()
    yield shared_host
    for name in shared_host.names() - before:
        shared_host.xl("destroy", name)


@pytest.fixture(scope="module")
def web_port() -> Iterator[int]:
    """The port of a server on the host's 127.0.0.1."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def forwarded() -> int:
    return free_port()


@pytest.fixture(scope="module")
def guest(shared_host: Host, forwarded: int) -> Iterator[Terminal]:
    """The shell of a guest on user-mode networking and on a network of domains."""
    user = f"type=user,forward=tcp:127.0.0.1:{forwarded}:8000"
    nics = [user, "bridge=lan,mac=00:16:3e:00:00:0a"] if shutil.which("passt") else ["bridge=lan"]
    # Debian's netfront keeps 1 MiB of each queue of an interface that has gone.
    shared_host.xl("create", shared_host.config("net", vcpus=2, memory=512, vif=nics))
    with shared_host.terminal("console", "net") as terminal:
        terminal.wait_for(b"# ", timeout=120)
        if shutil.which("passt"):
            terminal.run("udhcpc -i eth0 -q -n 2>/dev/null")
        terminal.run(f"ip addr add 10.9.0.1/24 dev eth{len(nics) - 1}")
        terminal.run(f"ip link set eth{len(nics) - 1} up")
        yield terminal
    shared_host.xl("destroy", "net")


@pytest.fixture(scope="module")
def neighbour(shared_host: Host) -> Iterator[Terminal]:
    """The shell of another guest on the same network, and on one of its own."""
    nics = ["bridge=lan,mac=00:16:3e:00:00:0b", "bridge=other"]
    shared_host.xl("create", shared_host.config("neighbour", vif=nics))
    with shared_host.terminal("console", "neighbour") as terminal:
        terminal.wait_for(b"# ", timeout=120)
        terminal.run("ip addr add 10.9.0.2/24 dev eth0; ip link set eth0 up")
        yield terminal
    shared_host.xl("destroy", "neighbour")


def digest_in(output: str) -> str:
    """The digest that a command printed, be it between messages of the kernel."""
    found = re.search(r"\b[0-9a-f]{32}\b", output)
    assert found, output
    return found[0]


def nics(host: Host, name: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(host.xl("network-list", "--json", name))
    return found


def switches(host: Host) -> list[int]:
    return [pid for pid, line in host.processes().items() if "switch_process" in line]


def connected(host: Host, name: str, count: int) -> bool:
    return [nic["state"] for nic in nics(host, name)] == [4] * count


@needs_passt
def test_a_guest_reaches_the_host_through_user_mode_networking(
    guest: Terminal, web_port: int
) -> None:
    fetched = guest.run(f"wget -q -O - http://{GATEWAY}:{web_port}/ | md5sum", timeout=60)
    assert digest_in(fetched) == DIGEST, fetched
    # Text, because busybox's wget takes what it posts for a string.
    guest.run("head -c 4M /dev/urandom | base64 > /tmp/sent")
    sent = digest_in(guest.run("md5sum < /tmp/sent"))
    answer = f"wget -q -O - --post-file=/tmp/sent http://{GATEWAY}:{web_port}/"
    assert sent in guest.run(answer, timeout=60)


@needs_passt
def test_a_forwarded_port_reaches_the_guest(guest: Terminal, forwarded: int) -> None:
    guest.run("(echo hello from the guest | nc -l -p 8000 > /tmp/heard 2>/dev/null &)")
    said = b""

    def answered() -> bool:
        nonlocal said
        with socket.create_connection(("127.0.0.1", forwarded), timeout=60) as sock:
            # Debian 12's passt completes the handshake only once this side has said something.
            sock.sendall(b"hello from the host\n")
            try:
                said = sock.recv(100)
            except ConnectionResetError:
                # Nobody listens yet.
                return False
        return bool(said)

    eventually(answered)
    assert said == b"hello from the guest\n"
    assert "hello from the host" in guest.run("cat /tmp/heard")


@needs_passt
def test_a_port_that_is_taken_is_named(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        nic = f"forward=tcp:127.0.0.1:{port}:22"
        done = host.try_xl("create", host.config("taken", vif=[nic]))
    assert done.returncode == 1
    assert str(port) in done.stderr and "network interface 0" in done.stderr
    assert "taken" not in host.names()


def test_without_passt_it_is_said_what_to_install(own_host: Host, tmp_path: Path) -> None:
    own_host.environment["PATH"] = str(tmp_path)
    done = own_host.try_xl("create", own_host.config("poor", vif=[""]))
    assert done.returncode == 1
    assert "install the package passt" in done.stderr


def test_two_domains_talk_over_a_network_of_their_own(guest: Terminal, neighbour: Terminal) -> None:
    assert "3 packets received" in neighbour.run("ping -c 3 -i 0.1 10.9.0.1")
    guest.run("mkdir -p /tmp/www; dd if=/dev/urandom of=/tmp/www/x bs=1M count=16 2>/dev/null")
    guest.run("httpd -p 10.9.0.1:80 -h /tmp/www")
    wanted = digest_in(guest.run("md5sum < /tmp/www/x"))
    fetched = neighbour.run("wget -q -O - http://10.9.0.1/x | md5sum", timeout=60)
    assert digest_in(fetched) == wanted


def test_networks_are_isolated(guest: Terminal, neighbour: Terminal) -> None:
    neighbour.run("ip addr add 10.8.0.2/24 dev eth1; ip link set eth1 up")
    guest.run("ip route add 10.8.0.0/24 via 10.9.0.9 2>/dev/null; ip addr add 10.8.0.1/24 dev lo")
    assert " 0 packets received" in neighbour.run("ping -c 2 -i 0.1 -W 1 10.8.0.1")


def test_network_list_has_xls_columns(host: Host, guest: Terminal, neighbour: Terminal) -> None:
    neighbour.run("ping -c 1 10.9.0.1")
    header, first, second = host.xl("network-list", "neighbour").splitlines()
    assert header.split() == [
        *("Idx", "BE", "Mac", "Addr.", "handle", "state", "evt-ch", "tx-/rx-ring-ref", "BE-path")
    ]
    domid = host.row("neighbour").domid
    pattern = (
        rf"0   0  00:16:3e:00:00:0b +0 +4 +\d+ +\d+/\d+ +/local/domain/0/backend/vif/{domid}/0 *"
    )
    assert re.fullmatch(pattern, first)
    assert second.startswith("1   0  00:16:3e:")
    counted = nics(host, "neighbour")[0]
    assert counted["rx_packets"] and counted["tx_packets"]


def test_an_address_stays_over_a_reboot(host: Host) -> None:
    host.xl("create", host.config("reborn", vif=["bridge=lan"]))
    (before,) = nics(host, "reborn")
    host.xl("network-attach", "reborn", "bridge=other")
    assert len(nics(host, "reborn")) == 2
    old = host.row("reborn").domid
    with host.running_xl("console", "reborn") as console:
        read_until(console, b"user space is up")
    host.xl("reboot", "reborn")
    eventually(lambda: "reborn" in host.names() and host.row("reborn").domid != old, timeout=40)
    eventually(lambda: connected(host, "reborn", 2), timeout=40)
    assert nics(host, "reborn")[0]["mac"] == before["mac"]


def come_and_go(host: Host, guest: Terminal, times: int) -> None:
    pid = host.domain_pid("net")

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    there = len(nics(host, "net"))
    before = descriptors()
    for number in range(times):
        host.xl("network-attach", "net", f"bridge=hot{number % 3}")
        eventually(lambda: connected(host, "net", there + 1))
        host.xl("network-detach", "net", nics(host, "net")[-1]["devid"])
        assert len(nics(host, "net")) == there
    eventually(lambda: descriptors() == before, descriptors)
    assert guest.run(f"ls /sys/class/net | grep -c eth{there}").strip() == "0"
    eventually(
        lambda: sum("switch_process" in line for line in host.processes().values()) <= 3,
        host.processes,
    )


def test_an_interface_comes_and_goes_again_and_again(host: Host, guest: Terminal) -> None:
    come_and_go(host, guest, 5)


@pytest.mark.slow
def test_an_interface_comes_and_goes_a_hundred_times(host: Host, guest: Terminal) -> None:
    come_and_go(host, guest, 100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("network-attach", "net", "mac=1"), "'1' is not a MAC address"),
        (("network-attach", "net", "devid=0"), "the number 0"),
        (("network-attach", "net", "bridge=no/such"), "'no/such' is not a name for a network"),
        (("network-detach", "net", "77"), "has no network interface 77"),
        (("network-capture", "-w", "/dev/null", "net", "77"), "has no network interface 77"),
    ],
)
def test_mistakes_are_named(
    host: Host, guest: Terminal, arguments: tuple[str, ...], message: str
) -> None:
    done = host.try_xl(*arguments)
    assert done.returncode == 1 and message in done.stderr


@needs_tcpdump
def test_a_capture_is_read_by_tcpdump(
    host: Host, guest: Terminal, neighbour: Terminal, tmp_path: Path
) -> None:
    file = tmp_path / "packets.pcap"
    with host.running_xl("network-capture", "-w", file, "neighbour", "00:16:3e:00:00:0b"):
        eventually(file.exists)
        eventually(lambda: file.stat().st_size >= 24)
        neighbour.run("ping -c 2 -i 0.1 10.9.0.1")
        eventually(lambda: file.stat().st_size > 4 * 98)
    read = ["tcpdump", "-n", "-r", str(file), "icmp"]
    shown = subprocess.run(read, capture_output=True, text=True, check=True).stdout
    assert shown.count("ICMP echo request") >= 2 and shown.count("ICMP echo reply") >= 2


def test_networks_outlive_the_daemon(own_host: Host) -> None:
    for name in ("a", "b"):
        own_host.xl("create", own_host.config(name, vif=["bridge=lan"]))
    with own_host.terminal("console", "a") as a, own_host.terminal("console", "b") as b:
        for number, terminal in ((1, a), (2, b)):
            terminal.wait_for(b"# ", timeout=120)
            terminal.run(f"ip addr add 10.9.0.{number}/24 dev eth0; ip link set eth0 up")
        assert "2 packets received" in a.run("ping -c 2 -i 0.1 10.9.0.2")
        kill(own_host.daemon_pid())
        assert "2 packets received" in a.run("ping -c 2 -i 0.1 10.9.0.2")
        own_host.xl("create", own_host.config("c", vif=["bridge=lan"]))
        with own_host.terminal("console", "c") as c:
            c.wait_for(b"# ", timeout=120)
            c.run("ip addr add 10.9.0.3/24 dev eth0; ip link set eth0 up")
            assert "2 packets received" in c.run("ping -c 2 -i 0.1 10.9.0.1")
    for name in ("a", "b", "c"):
        own_host.xl("destroy", name)
    eventually(
        lambda: not any("switch_process" in line for line in own_host.processes().values()),
        own_host.processes,
    )


def test_a_switch_that_died_is_replaced(own_host: Host) -> None:
    for name in ("a", "b"):
        own_host.xl("create", own_host.config(name, vif=["bridge=lan"]))
    with own_host.terminal("console", "a") as a, own_host.terminal("console", "b") as b:
        for number, terminal in ((1, a), (2, b)):
            terminal.wait_for(b"# ", timeout=120)
            terminal.run(f"ip addr add 10.9.0.{number}/24 dev eth0; ip link set eth0 up")
        assert "2 packets received" in a.run("ping -c 2 -i 0.1 10.9.0.2")
        for _ in range(2):
            (switch,) = switches(own_host)
            kill(switch)
            eventually(lambda: "the network is gone" in own_host.xl("dmesg"))
            eventually(lambda gone=switch: switches(own_host) not in ([], [gone]))  # type: ignore[misc]
            eventually(
                lambda: not any(nic["lost"] for name in "ab" for nic in nics(own_host, name))
            )
            assert "2 packets received" in a.run("ping -c 2 -i 0.1 10.9.0.2")


def test_a_network_that_cannot_be_had_again_is_told_of(own_host: Host) -> None:
    own_host.xl("create", own_host.config("a", vif=["bridge=lan"]))
    eventually(lambda: connected(own_host, "a", 1), timeout=60)
    (switch,) = switches(own_host)
    # Nobody is there to start another.
    kill(own_host.daemon_pid())
    kill(switch)
    # A daemon that cannot make the switch's socket.
    networks = own_host.run_dir / "networks"
    shutil.rmtree(networks)
    networks.write_text("in the way")
    eventually(lambda: nics(own_host, "a")[0]["lost"] == "the other end is closed")
    row = own_host.xl("network-list", "a").splitlines()[1]
    assert row.endswith("network lost: the other end is closed")
    networks.unlink()
    eventually(lambda: nics(own_host, "a")[0]["lost"] == "", timeout=30)
    assert len(switches(own_host)) == 1
    own_host.xl("network-detach", "a", "0")
    own_host.xl("network-attach", "a", "bridge=lan")
    eventually(lambda: connected(own_host, "a", 1))


@needs_passt
def test_a_passt_that_died_is_replaced(own_host: Host, web_port: int) -> None:
    own_host.xl("create", own_host.config("a", vif=["type=user"]))
    with own_host.terminal("console", "a") as a:
        a.wait_for(b"# ", timeout=120)
        a.run("udhcpc -i eth0 -q -n 2>/dev/null")
        fetch = f"wget -q -O - http://{GATEWAY}:{web_port}/ | md5sum"
        assert digest_in(a.run(fetch, timeout=60)) == DIGEST
        (passt,) = (pid for pid, line in own_host.processes().items() if "passt" in line)
        kill(passt)
        eventually(lambda: "the network is gone" in own_host.xl("dmesg"))
        eventually(lambda: nics(own_host, "a")[0]["lost"] == "")
        assert digest_in(a.run(fetch, timeout=60)) == DIGEST


@needs_root
def test_root_puts_an_interface_on_a_bridge_of_the_host(host: Host) -> None:
    bridge = f"xtb{os.getpid()}"
    made = subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=False)
    if made.returncode != 0:
        pytest.skip("no bridges here")
    try:
        subprocess.run(["ip", "addr", "add", "10.7.0.1/24", "dev", bridge], check=True)
        subprocess.run(["ip", "link", "set", bridge, "up"], check=True)
        host.xl("create", host.config("bridged", vif=[f"bridge={bridge},vifname=xtv0"]))
        assert Path(f"/sys/class/net/{bridge}/brif/xtv0").exists()
        with host.terminal("console", "bridged") as terminal:
            terminal.wait_for(b"# ", timeout=120)
            terminal.run("ip addr add 10.7.0.2/24 dev eth0; ip link set eth0 up")
            assert "3 packets received" in terminal.run("ping -c 3 -i 0.2 10.7.0.1")
            with socket.create_server(("10.7.0.1", 0)) as server:
                port = server.getsockname()[1]
                sender = f"(head -c 4000000 /dev/zero | nc 10.7.0.1 {port} &)"
                terminal.run(sender)
                peer, _ = server.accept()
                with peer:
                    received = 0
                    while data := peer.recv(1 << 16):
                        received += len(data)
                assert received == 4_000_000
        host.xl("destroy", "bridged")
        eventually(lambda: not Path("/sys/class/net/xtv0").exists())
    finally:
        subprocess.run(["ip", "link", "del", bridge], check=True)
