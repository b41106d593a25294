"""Killed, or without power, at any point of any operation: what was flushed is there."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash_replay import Recorder
from disk_model import (
    SECTOR,
    contents,
    create_child,
    create_dynamic,
    create_fixed,
    pattern,
    read,
    write,
)

from xenolith.storage import changes
from xenolith.storage.convert import Target, convert
from xenolith.storage.errors import ImageError
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_file, open_locked
from xenolith.storage.open import open_image
from xenolith.storage.snapshot import clone, coalesce, snapshot
from xenolith.storage.vhd.check import check
from xenolith.storage.vhd.repair import repair
from xenolith.storage.vhd.resize import resize

BLOCK = 16 << 10
SIZE = 8 * BLOCK
SECTORS = SIZE // SECTOR
SOME_CRASHES = 24
"""Points at which to crash in the fast tests."""


@pytest.fixture
def disks(tmp_path: Path) -> Path:
    path = tmp_path / "disks"
    path.mkdir()
    return path


def fill(path: Path, model: bytearray, seed: int, image_format: str = "vhd") -> None:
    """Write something here and there."""
    image = open_image(path, image_format, writable=True)
    for number in range(12):
        rng = random.Random(seed * 100 + number)
        start = rng.randrange(SECTORS) * SECTOR
        data = pattern(min(rng.randrange(1, 40) * SECTOR, SIZE - start), seed * 100 + number)
        write(image, start, data)
        model[start : start + len(data)] = data
    image.close()


def make_old(path: Path) -> Path:
    """Let any change of a file change its modification time."""
    os.utime(path, (1_500_000_000, 1_500_000_000))
    return path


def chain(directory: Path, links: int, base: str = "dynamic") -> tuple[list[Path], bytearray]:
    """Files from the base to the leaf, and what they hold."""
    model = bytearray(SIZE)
    paths = [directory / "0"]
    if base == "dynamic":
        create_dynamic(paths[0], SIZE, BLOCK)
    elif base == "fixed":
        create_fixed(paths[0], SIZE)
    else:
        paths[0].write_bytes(model)
    fill(paths[0], model, 1, "raw" if base == "raw" else "vhd")
    for number in range(1, links):
        parent = make_old(paths[-1])
        paths.append(directory / str(number))
        create_child(paths[-1], parent, BLOCK, raw=base == "raw" and number == 1)
        fill(paths[-1], model, number + 1)
    make_old(paths[-1])
    return paths, model


def crashes(
    recorder: Recorder, target: Path, count: int | None, seed: int = 0
) -> Iterator[tuple[int, str]]:
    """Make the files after one crash after the other; each as the call's number, and how."""
    target.mkdir(exist_ok=True)
    rng = random.Random(seed)
    points = range(len(recorder.calls) + 1)
    chosen = points if count is None else sorted(rng.sample(points, min(count, len(points))))
    for point in chosen:
        recorder.killed(point, target, rng)
        yield point, "killed"
        for _ in range(1 if count else 5):
            recorder.powered_off(point, target, rng)
            yield point, "powered off"


class Guest:
    """Writes, and knows what each sector may hold if everything ends now."""

    def __init__(self, model: bytearray) -> None:
        self.flushed = bytes(model)
        self.since: dict[int, set[bytes]] = {}

    def write(self, offset: int, data: bytes) -> None:
        for at in range(0, len(data), SECTOR):
            sector = data[at : at + SECTOR]
            self.since.setdefault((offset + at) // SECTOR, set()).add(sector)

    def state(self) -> tuple[bytes, dict[int, set[bytes]]]:
        return self.flushed, {sector: set(values) for sector, values in self.since.items()}


def check_state(found: bytes, state: tuple[bytes, dict[int, set[bytes]]]) -> None:
    flushed, since = state
    for number in range(SECTORS):
        sector = found[number * SECTOR : (number + 1) * SECTOR]
        allowed = {flushed[number * SECTOR : (number + 1) * SECTOR], *since.get(number, ())}
        assert sector in allowed, f"sector {number} holds what was never there"


def check_writes(
    tmp_path: Path, disks: Path, base: str, links: int, seed: int, count: int | None
) -> None:
    paths, model = chain(disks, links, base)
    recorder = Recorder(disks)
    image = open_image(paths[-1], "vhd", writable=True)
    guest = Guest(model)
    rng = random.Random(seed)
    begin = guest.state()
    with recorder.recording():
        for number in range(25):
            start = rng.randrange(SECTORS) * SECTOR
            length = min(rng.choice([1, 2, 8, 32, 40]) * SECTOR, SIZE - start)
            data = bytes(length) if rng.random() < 0.2 else pattern(length, seed * 1000 + number)
            # From here on it may be there, from the flush on it must.
            if rng.random() < 0.1:
                guest.write(start, bytes(length))
                recorder.mark(guest.state())
                image.write_zeroes(start, length)
            guest.write(start, data)
            recorder.mark(guest.state())
            write(image, start, data)
            model[start : start + length] = data
            if rng.random() < 0.25:
                image.flush()
                guest = Guest(model)
                recorder.mark(guest.state())
        image.close()
    for point, _ in crashes(recorder, tmp_path / "crashed", count, seed):
        leaf = tmp_path / "crashed" / paths[-1].name
        state = [begin, *recorder.marks(point)][-1]
        check_state(contents(leaf), state)
        # It can be written to as well.
        again = open_image(leaf, "vhd", writable=True)
        check_state(read(again, 0, SIZE), state)
        write(again, 0, pattern(SIZE, 5))
        again.close()
        assert contents(leaf) == pattern(SIZE, 5)


@pytest.mark.parametrize("base", ["dynamic", "fixed", "raw"])
@pytest.mark.parametrize("links", [1, 2])
def test_writes(tmp_path: Path, disks: Path, base: str, links: int) -> None:
    if (base, links) != ("raw", 1):
        check_writes(tmp_path, disks, base, links, links, SOME_CRASHES // 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("base", ["dynamic", "raw"])
def test_writes_everywhere(tmp_path: Path, disks: Path, base: str, seed: int) -> None:
    check_writes(tmp_path, disks, base, 2, seed, None)


def do_snapshot(directory: Path) -> None:
    snapshot(directory / "2", "vhd", directory / "new")


def do_online_snapshot(directory: Path) -> None:
    image = open_image(directory / "2", "vhd", writable=True)
    (directory / "new").open("xb").close()
    changes.snapshot(image, open_file(directory / "new", Access.WRITE))
    image.close()


def do_clone(directory: Path) -> None:
    clone(str(directory / "2"), str(directory / "base"), str(directory / "new"))


def do_coalesce_leaf(directory: Path) -> None:
    coalesce(str(directory / "2"), [])


def do_coalesce_middle(directory: Path) -> None:
    coalesce(str(directory / "1"), [str(directory / "2")])


def do_online_coalesce(directory: Path, link: int) -> None:
    image = open_image(directory / "2", "vhd", writable=True)
    writable = [open_file(file.name, Access.WRITE) for file in image.files[: link + 2]]
    changes.coalesce(image, link, writable)
    image.close()


def do_convert(directory: Path) -> None:
    for target in Target:
        convert(directory / "2", "vhd", directory / f"converted-{target}", target)


OPERATIONS: dict[str, Callable[[Path], None]] = {
    "snapshot": do_snapshot,
    "online snapshot": do_online_snapshot,
    "clone": do_clone,
    "coalesce the leaf": do_coalesce_leaf,
    "coalesce the middle": do_coalesce_middle,
    "coalesce the leaf online": lambda directory: do_online_coalesce(directory, 0),
    "coalesce the middle online": lambda directory: do_online_coalesce(directory, 1),
    "convert": do_convert,
}


def check_operation(
    tmp_path: Path, disks: Path, operation: str, base: str, count: int | None
) -> None:
    _, model = chain(disks, 3, base)
    recorder = Recorder(disks)
    with recorder.recording():
        OPERATIONS[operation](disks)
    assert len(recorder.calls) > 4
    crashed = tmp_path / "crashed"
    for _ in crashes(recorder, crashed, count):
        assert contents(crashed / "2") == model
        for name in ("new", "base", "converted-vhd", "converted-vhd-fixed"):
            path = crashed / name
            # An online snapshot's file is its maker's to name when it is complete.
            if path.exists() and not (operation == "online snapshot" and path.stat().st_size == 0):
                try:
                    assert contents(path) == model
                except ImageError:
                    assert operation == "online snapshot"
        if (crashed / "converted-raw").exists():
            assert (crashed / "converted-raw").read_bytes() == model
        # What was interrupted can be begun again.
        if operation.startswith("coalesce"):
            again = open_image(crashed / "2", "vhd", writable=True)
            assert read(again, 0, SIZE) == model
            again.close()
    assert contents(disks / "2") == model


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("base", ["dynamic", "raw"])
def test_operations(tmp_path: Path, disks: Path, operation: str, base: str) -> None:
    check_operation(tmp_path, disks, operation, base, SOME_CRASHES)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("base", ["dynamic", "fixed", "raw"])
def test_operations_everywhere(tmp_path: Path, disks: Path, operation: str, base: str) -> None:
    check_operation(tmp_path, disks, operation, base, None)


@pytest.mark.parametrize("create", [create_dynamic, create_fixed])
@pytest.mark.parametrize("factor", [0.5, 0.99, 1.5, 300])
def test_resizing(
    tmp_path: Path, disks: Path, create: Callable[[Path, int], Path], factor: float
) -> None:
    path = create(disks / "disk", SIZE) if create is create_fixed else create_dynamic(
        disks / "disk", SIZE, BLOCK
    )  # fmt: skip
    model = bytearray(SIZE)
    fill(path, model, 1)
    size = int(SECTORS * factor) * SECTOR
    # A fixed disk has but one footer, which moves to the file's new end.
    recorder = Recorder(disks, ordered=create is create_fixed)
    with recorder.recording():
        file = open_locked(path, Access.WRITE)
        resize(file, size)
        file.close()
    for _ in crashes(recorder, tmp_path / "crashed", None):
        found = contents(tmp_path / "crashed" / "disk")
        assert len(found) in (SIZE, size)
        both = min(size, SIZE)
        assert found[:both] == model[:both]
    assert len(contents(path)) == size


def test_repairing(tmp_path: Path, disks: Path) -> None:
    path = create_dynamic(disks / "disk", SIZE, BLOCK)
    model = bytearray(SIZE)
    fill(path, model, 1)
    data = bytearray(path.read_bytes())
    table = 1536
    sound = next(block for block in range(8) if data[table + 4 * block] != 0xFF)
    for block, value in ((6, data[table + 4 * sound :][:4]), (7, b"\x7f\0\0\0"), (5, bytes(4))):
        data[table + 4 * block : table + 4 * block + 4] = value
    data[:512] = bytes(512)
    path.write_bytes(data)
    recorder = Recorder(disks)
    with recorder.recording():
        file = open_locked(path, Access.WRITE)
        repair(file)
        file.close()
    repaired = contents(path)
    for _ in crashes(recorder, tmp_path / "crashed", None):
        file = open_locked(tmp_path / "crashed" / "disk", Access.WRITE)
        repair(file)
        assert check(file).is_sound
        file.close()
        assert contents(tmp_path / "crashed" / "disk") == repaired
