"""Our PV and PVH guests beside those of real Xen, which runs in QEMU's emulator with a Domain-0 of Debian's.

It takes many minutes, since each guest of Xen's gets a Xen of its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench.contest import Contest
from bench.figure import Figure
from bench.guest import GuestSpec
from bench.peers.xen import Xen
from bench.sections import guest_programs, network
from bench.sections.boot import debian, user_space

_DISK_BYTES = 256 << 20


class _Operation(NamedTuple):
    """What a program in the guest measures, and how its rate per second is shown."""

    name: str
    title: str
    unit: str
    shown: Callable[[float], float]


def _each(rate: float) -> float:
    return rate


def _thousands(rate: float) -> float:
    return rate / 1e3


def _millions(rate: float) -> float:
    return rate / 1e6


def _microseconds(rate: float) -> float:
    return 1e6 / rate


_PROGRAMS = (
    _Operation("getppid", "getppid", "us", _microseconds),
    _Operation("fork_exec", "fork + exec + wait", "/s", _each),
    _Operation("pagefault", "page faults", "k/s", _thousands),
    _Operation("memcpy", "memcpy, 8 MiB", "MB/s", _millions),
    _Operation("pipe_switch", "pipe switches", "k/s", _thousands),
)
_DISK = (
    _Operation("read_1m_1", "disk read 1 MiB", "MB/s", _millions),
    _Operation("write_1m_1", "disk write 1 MiB", "MB/s", _millions),
    _Operation("read_4k_1", "disk read 4 KiB", "/s", _each),
    _Operation("write_4k_1", "disk write 4 KiB", "/s", _each),
)
_NETWORK = (
    _Operation("send", "TCP guest to host", "MB/s", _millions),
    _Operation("receive", "TCP host to guest", "MB/s", _millions),
    _Operation("ping", "TCP round trip", "us", _microseconds),
)


def measure(contest: Contest) -> Iterator[Figure]:
    """Half as many pairs as elsewhere. The disk is a raw image, which Xen's Domain-0 has as a disk."""
    effort = replace(contest.effort, pairs=contest.effort.pairs // 2)
    with tempfile.TemporaryDirectory(prefix="xenolith-bench-xen-") as name:
        xen = Xen(Path(name), contest.images.unpack)
        disk = _disk_image(Path(name))
        against_xen = replace(contest, peer=xen, effort=effort)
        for kind in ("pv", "pvh"):
            yield from _guests(against_xen, kind, disk)


def _guests(contest: Contest, kind: str, disk: Path) -> Iterator[Figure]:
    """All figures of guests of a type."""
    name = kind.upper()
    boot = replace(debian(contest.images, memory=512), type=kind)
    yield Figure(f"{name} boot to user space", "s", *contest.alternate(boot, user_space))
    programs = replace(guest_programs.spec(contest), type=kind)
    ours, peer = contest.alternate(programs, guest_programs.measured_rates)
    yield from _figures(name, _PROGRAMS, *map(_first_of_each, (ours, peer)))
    images, settings = contest.images, f"mitigations=off quiet GBENCH_MS={contest.effort.guest_ms}"
    on_disk = GuestSpec(
        images.kernel, images.disk_ramdisk, settings, 512, disk=(disk, "raw"), type=kind
    )
    ours, peer = contest.alternate(on_disk, guest_programs.measured_rates)
    yield from _figures(name, _DISK, *map(_first_of_each, (ours, peer)))
    yield from _figures(name, _NETWORK, *network.to_host(contest, kind))


def _disk_image(directory: Path) -> Path:
    """A raw image without holes."""
    path = directory / "disk.img"
    with path.open("wb") as file:
        for _ in range(_DISK_BYTES >> 20):
            file.write(os.urandom(1 << 20))
    return path


def _first_of_each(runs: Sequence[Mapping[str, list[float]]]) -> list[dict[str, float]]:
    return [{name: measured[0] for name, measured in run.items()} for run in runs]


def _figures(
    prefix: str,
    operations: Sequence[_Operation],
    ours: Sequence[Mapping[str, float]],
    peer: Sequence[Mapping[str, float]],
) -> Iterator[Figure]:
    for name, title, unit, shown in operations:
        samples = ([shown(run[name]) for run in runs] for runs in (ours, peer))
        yield Figure(f"{prefix} {title}", unit, *samples)
