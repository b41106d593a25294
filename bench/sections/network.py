"""TCP between a guest and its host through user-mode networking, and between two domains."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.contest import Contest
from bench.errors import BenchError
from bench.figure import Figure, Judged, Relation, Target
from bench.guest import OWN_GROUP, Guest, GuestSpec

_END = b"NETBENCH end"
_LINE = re.compile(rb"^NETBENCH (\w+) (\d+) ([\d.]+)", re.MULTILINE)
_SERVES = b"NETBENCH serves"
_PORT = 5201
_OUR_GATEWAY = r"$(ip route | sed -n 's/default via \([0-9.]*\) .*/\1/p')"
_SETTINGS = "mitigations=off quiet panic=-1"

_AT_LEAST_THE_PEER = Target(Relation.AT_LEAST, 1.0, Judged.RATIO)
_TWICE_THE_PEER = Target(Relation.AT_LEAST, 2.0, Judged.RATIO)
_AT_MOST_THE_PEER = Target(Relation.AT_MOST, 1.0, Judged.RATIO)


def measure(contest: Contest) -> Iterator[Figure]:
    """TCP to the host, and between domains, for which the peer's column holds the former."""
    ours, peer = to_host(contest)
    between = [
        _between_domains(contest, contest.effort.guest_ms) for _ in range(contest.effort.pairs)
    ]
    sent = [run["send"] / 1e6 for run in peer]
    yield Figure("TCP guest to host", "MB/s", _mega(ours, "send"), sent, _AT_LEAST_THE_PEER)
    received = _mega(peer, "receive")
    yield Figure("TCP host to guest", "MB/s", _mega(ours, "receive"), received, _AT_LEAST_THE_PEER)
    round_trips = _micro(peer)
    yield Figure("TCP round trip to the host", "us", _micro(ours), round_trips, _AT_MOST_THE_PEER)
    yield Figure("TCP domain to domain", "MB/s", _mega(between, "send"), sent, _TWICE_THE_PEER)
    yield Figure("  round trip between domains", "us", _micro(between), round_trips)


def to_host(
    contest: Contest, kind: str = "pvh"
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """What guests of a type measure, ours and the peer's: bytes sent and received, and pings, a second.

    The host's side is a program on its 127.0.0.1, to which both hypervisors' gateways lead.
    """
    ramdisk = contest.images.network_ramdisk
    with _serving(ramdisk.parent / "netbench") as port:
        # The peer's drivers are loaded where there is no interface of ours.
        commands = (
            "[ -e /sys/class/net/eth0 ] || sh /peer; udhcpc -i eth0 -q -n >/dev/null 2>&1; "
            + _measurements(_OUR_GATEWAY, port, contest.effort.guest_ms)
        )
        return contest.alternate(replace(_spec(contest, commands, "type=user"), type=kind), _rates)


def _between_domains(contest: Contest, ms: int) -> dict[str, float]:
    """Rates from one domain to another, over a network of theirs."""
    up = "ip link set eth0 up; ip addr add 10.9.0.{} dev eth0; "
    server = contest.ours.start(
        _spec(contest, up.format("1/24") + f"netbench serve {_PORT}", "bridge=bench")
    )
    try:
        server.wait_for(_SERVES)
        commands = up.format("2/24") + _measurements("10.9.0.1", _PORT, ms)
        client = contest.ours.start(_spec(contest, commands, "bridge=bench"))
        try:
            return _rates(client)
        finally:
            client.stop()
    finally:
        server.stop()


def _spec(contest: Contest, commands: str, vif: str) -> GuestSpec:
    quoted = f'{_SETTINGS} xenolith.run="{commands}"'
    return GuestSpec(contest.images.kernel, contest.images.network_ramdisk, quoted, 256, (vif,))


def _measurements(address: str, port: int, ms: int) -> str:
    runs = [f"netbench {what} {address} {port} {ms}" for what in ("send", "receive", "ping")]
    # So that the first connection's slow start is not measured.
    return "; ".join(
        [f"netbench receive {address} {port} 100 >/dev/null", *runs, "echo NETBENCH end"]
    )


def _rates(guest: Guest) -> dict[str, float]:
    """Bytes or round trips a second, by kind of measurement."""
    guest.wait_for(_END)
    text = guest.console.text()
    found = _LINE.findall(text.encode() if isinstance(text, str) else text)
    rates = {name.decode(): int(count) / float(seconds) for name, count, seconds in found}
    if set(rates) != {"send", "receive", "ping"}:
        raise BenchError(f"the guest has no network: {sorted(rates)}")
    return rates


def _mega(runs: list[dict[str, float]], what: str) -> list[float]:
    return [run[what] / 1e6 for run in runs]


def _micro(runs: list[dict[str, float]]) -> list[float]:
    return [1e6 / run["ping"] for run in runs]


@contextmanager
def _serving(program: Path) -> Iterator[int]:
    """Run the host's side, which is the same program; its port."""
    with subprocess.Popen(
        [program, "serve", str(_PORT)], stdout=subprocess.PIPE, process_group=OWN_GROUP
    ) as server:
        try:
            assert server.stdout is not None
            if not server.stdout.readline().startswith(_SERVES):
                raise BenchError(f"port {_PORT} is taken")
            yield _PORT
        finally:
            server.kill()
