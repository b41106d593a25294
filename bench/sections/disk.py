"""How fast a guest's disk is: guests/bench/diskbench.c on a raw image and on a VHD, past the guest's cache.

Requests of 1 MiB go in sequence, those of 4 KiB to random places, one or 32 at a time. The peer is
QEMU's virtio-blk on a raw image, and for our VHD our raw image; all are in the host's page cache. A
disk over NBD is a qcow2 that a qemu-nbd serves, beside our raw image as well.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.contest import Contest, run
from bench.figure import Figure, Judged, Relation, Target
from bench.gbench import END, rates
from bench.guest import Guest, GuestSpec
from xenolith.storage.locked_file import new_file
from xenolith.storage.open import open_image
from xenolith.storage.vhd.create import write_dynamic

_SIZE = 256 << 20
_PIECE = 1 << 20

Rates = dict[str, list[float]]


class _Workload(NamedTuple):
    name: str
    title: str
    unit: str
    shown: Callable[[float], float]


def _megabytes(rate: float) -> float:
    return rate / 1e6


def _each(rate: float) -> float:
    return rate


_WORKLOADS = (
    _Workload("read_1m_1", "disk read 1 MiB", "MB/s", _megabytes),
    _Workload("read_1m_32", "disk read 1 MiB x32", "MB/s", _megabytes),
    _Workload("write_1m_1", "disk write 1 MiB", "MB/s", _megabytes),
    _Workload("write_1m_32", "disk write 1 MiB x32", "MB/s", _megabytes),
    _Workload("read_4k_1", "disk read 4 KiB", "/s", _each),
    _Workload("read_4k_32", "disk read 4 KiB x32", "/s", _each),
    _Workload("write_4k_1", "disk write 4 KiB", "/s", _each),
    _Workload("write_4k_32", "disk write 4 KiB x32", "/s", _each),
)

_AS_QEMU = Target(Relation.AT_LEAST, 1.0, Judged.RATIO)
_AS_RAW = Target(Relation.AT_LEAST, 0.9, Judged.RATIO)


def measure(contest: Contest) -> Iterator[Figure]:
    """One vCPU; all workloads in one guest, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        raw, vhd = _images(Path(name))
        qcow2 = _qcow2(raw)
        spec = GuestSpec(
            contest.images.kernel,
            contest.images.disk_ramdisk,
            f"mitigations=off quiet GBENCH_MS={contest.effort.guest_ms}",
            memory=512,
            disk=(raw, "raw"),
        )
        ours_raw: list[Rates] = []
        ours_vhd: list[Rates] = []
        ours_nbd: list[Rates] = []
        peer: list[Rates] = []
        for _ in range(contest.effort.pairs):
            ours_raw.append(run(contest.ours, spec, _measure_guest))
            with_vhd = dataclasses.replace(spec, disk=(vhd, "vhd"))
            ours_vhd.append(run(contest.ours, with_vhd, _measure_guest))
            if qcow2 is not None:
                with_nbd = dataclasses.replace(spec, disk=(qcow2, "qcow2"))
                ours_nbd.append(run(contest.ours, with_nbd, _measure_guest))
            if contest.peer is not None:
                peer.append(run(contest.peer, spec, _measure_guest))
    for workload in _WORKLOADS:
        yield _figure(workload, "raw", ours_raw, peer, _AS_QEMU)
        yield _figure(workload, "VHD", ours_vhd, ours_raw, _AS_RAW)
        if ours_nbd:
            yield _figure(workload, "NBD", ours_nbd, ours_raw)


def _images(directory: Path) -> tuple[Path, Path]:
    """A raw image and a VHD without holes."""
    raw, vhd = directory / "disk.img", directory / "disk.vhd"
    raw.touch()
    os.truncate(raw, _SIZE)
    with new_file(vhd) as file:
        write_dynamic(file, _SIZE)
    for path, image_format in ((raw, "raw"), (vhd, "vhd")):
        image = open_image(path, image_format, writable=True)
        try:
            for offset in range(0, _SIZE, _PIECE):
                image.writev([memoryview(os.urandom(_PIECE))], offset)
        finally:
            image.close()
    return raw, vhd


def _qcow2(raw: Path) -> Path | None:
    """The raw image in a format that qemu-nbd serves; None where that is not installed."""
    if shutil.which("qemu-nbd") is None:
        return None
    made = raw.with_suffix(".qcow2")
    command = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, made]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return made


def _measure_guest(guest: Guest) -> Rates:
    guest.wait_for(END)
    return rates(guest.console.text())


def _figure(
    workload: _Workload,
    what: str,
    ours: list[Rates],
    peer: list[Rates],
    target: Target | None = None,
) -> Figure:
    def shown(runs: list[Rates]) -> list[float]:
        return [workload.shown(run[workload.name][0]) for run in runs]

    return Figure(f"{workload.title}, {what}", workload.unit, shown(ours), shown(peer), target)
