"""Disk images outside a guest: how fast VHDs are read and written, and how soon a snapshot is made.

The peer is qemu-nbd with the same file, asked by qemu-img bench over a unix socket; and where nbdcopy
reads the whole of it, from our NBD server and from qemu's. All that is read is in the page cache, and
what is written only goes there.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contest import Contest
from bench.errors import BenchError
from bench.figure import Figure, Judged, Relation, Target
from xenolith.storage.image import Image
from xenolith.storage.locked_file import new_file
from xenolith.storage.open import open_image
from xenolith.storage.snapshot import snapshot
from xenolith.storage.vhd.create import write_dynamic

_SIZE = 512 << 20
_REQUEST = 1 << 20
_LARGE = 1 << 40
_LINKS = 30
_END_S = 10

_PROMISED = Target(Relation.AT_LEAST, 1.5)
_AS_QEMU = Target(Relation.AT_LEAST, 1.0, Judged.RATIO)
_AS_ONE_IMAGE = Target(Relation.AT_LEAST, 0.8, Judged.RATIO)
_SNAPSHOT = Target(Relation.AT_MOST, 50)

_RUN_TIME = re.compile(r"Run completed in ([\d.]+) seconds")


def measure(contest: Contest) -> Iterator[Figure]:
    """Reading and writing in requests of 1 MiB, a long chain, and a snapshot of a large disk."""
    with tempfile.TemporaryDirectory(prefix="xenolith-bench-storage-") as directory:
        image = _filled(Path(directory))
        pairs = contest.effort.pairs
        for name, ours, qemu in (("read", _read, []), ("write", _write, ["-w"])):
            mine, peer = _alternate(image, ours, qemu, pairs)
            yield Figure(f"VHD {name} of 1 MiB", "GB/s", mine, target=_PROMISED)
            if peer:
                yield Figure(f"VHD {name} beside qemu-nbd", "GB/s", mine, peer, _AS_QEMU)
        if shutil.which("nbdcopy") is not None and shutil.which("qemu-nbd") is not None:
            copies = [(_copy_ours(image), _copy_qemu(image)) for _ in range(pairs)]
            mine, peer = (list(samples) for samples in zip(*copies, strict=True))
            yield Figure("VHD read by nbdcopy", "GB/s", mine, peer)
        chain = _chain(image)
        samples = [(_with(chain, _read), _with(image, _read)) for _ in range(pairs + 1)][1:]
        links, one = zip(*samples, strict=True)
        yield Figure(f"{_LINKS} links beside one image", "GB/s", links, one, _AS_ONE_IMAGE)
        yield Figure(
            "snapshot of 1 TiB", "ms", _snapshots(Path(directory), pairs), target=_SNAPSHOT
        )


def _filled(directory: Path) -> Path:
    path = directory / "disk.vhd"
    with new_file(path) as file:
        write_dynamic(file, _SIZE)
    _with(path, _write, writable=True)
    return path


def _chain(base: Path) -> Path:
    for number in range(_LINKS - 1):
        child = base.with_name(f"{number}.vhd")
        snapshot(base, "vhd", child)
        base = child
    return base


def _alternate(
    path: Path, ours: Callable[[Image], float], qemu: list[str], pairs: int
) -> tuple[list[float], list[float]]:
    mine, peer = [], []
    _with(path, ours, writable=True)
    for _ in range(pairs):
        mine.append(_with(path, ours, writable=True))
        if shutil.which("qemu-nbd") is not None:
            peer.append(_qemu(path, qemu))
    return mine, peer


def _with(path: Path, work: Callable[[Image], float], writable: bool = False) -> float:
    image = open_image(path, "vhd", writable)
    try:
        return work(image)
    finally:
        image.close()


def _read(image: Image) -> float:
    buffer = memoryview(bytearray(_REQUEST))
    started = time.perf_counter()
    for offset in range(0, _SIZE, _REQUEST):
        image.readv([buffer], offset)
    return _SIZE / (time.perf_counter() - started) / 1e9


def _write(image: Image) -> float:
    buffer = memoryview(bytearray(os.urandom(_REQUEST)))
    started = time.perf_counter()
    for offset in range(0, _SIZE, _REQUEST):
        image.writev([buffer], offset)
    return _SIZE / (time.perf_counter() - started) / 1e9


def _qemu(path: Path, options: list[str]) -> float:
    command = ["qemu-img", "bench", "-f", "raw", "-t", "writeback", "-d", "1", "-s", str(_REQUEST)]
    command += ["-c", str(_SIZE // _REQUEST), *options]
    with _qemu_nbd(path) as uri:
        found = _RUN_TIME.search(_run([*command, uri]))
    if found is None:
        raise BenchError("qemu-img bench does not say how long it took")
    return _SIZE / float(found[1]) / 1e9


def _copy_qemu(path: Path) -> float:
    with _qemu_nbd(path) as uri:
        return _copy(uri)


def _copy_ours(path: Path) -> float:
    server = Path(sys.executable).parent / "vhd"
    socket = path.with_suffix(".socket")
    with subprocess.Popen(
        [server, "serve", f"--socket={socket}", path], stdout=subprocess.PIPE, text=True
    ) as served:
        try:
            assert served.stdout is not None
            uri = served.stdout.readline().strip()
            if not uri:
                raise BenchError("vhd serve does not serve")
            return _copy(uri)
        finally:
            served.terminate()


def _copy(uri: str) -> float:
    """Gigabytes a second of a client with all its connections and requests."""
    started = time.perf_counter()
    _run(["nbdcopy", uri, "null:"])
    return _SIZE / (time.perf_counter() - started) / 1e9


@contextmanager
def _qemu_nbd(path: Path) -> Iterator[str]:
    """Serve a VHD to one client; the URI for it."""
    socket, pid_file = path.with_suffix(".socket"), path.with_suffix(".pid")
    command = ["qemu-nbd", "--fork", "--format=vpc", "--cache=writeback", "--shared=0"]
    _run([*command, f"--socket={socket}", f"--pid-file={pid_file}", str(path)])
    server = os.pidfd_open(int(pid_file.read_text()))
    try:
        yield f"nbd+unix:///?socket={socket}"
        # It ends when its clients have gone.
        select.select([server], [], [], _END_S)
    finally:
        os.close(server)


def _run(command: list[str]) -> str:
    # qemu-nbd's daemon keeps what it inherits, so no pipe that would be waited for.
    with tempfile.TemporaryFile("w+") as output:
        ended = subprocess.run(command, check=False, stdout=output, stderr=subprocess.STDOUT)
        output.seek(0)
        text = output.read()
    if ended.returncode:
        raise BenchError(f"{command[0]} failed: {text.strip()}")
    return text


def _snapshots(directory: Path, count: int) -> list[float]:
    large = directory / "large.vhd"
    with new_file(large) as file:
        write_dynamic(file, _LARGE)
    samples = []
    for number in range(count):
        started = time.perf_counter()
        snapshot(large, "vhd", directory / f"snapshot{number}.vhd")
        samples.append((time.perf_counter() - started) * 1e3)
    return samples
