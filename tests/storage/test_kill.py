"""Programs that are really killed, at any time: images open and hold what had been flushed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from disk_model import MIB, SECTOR, contents, create_child, create_dynamic, pattern, write

from xenolith.cli import vhd
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_file
from xenolith.storage.open import open_image
from xenolith.storage.vhd.check import check

SIZE = 64 * MIB

WRITER = """
import random, sys
from xenolith.storage.open import open_image

image = open_image(sys.argv[1], "vhd", True)
rng = random.Random(int(sys.argv[2]))
for number in range(1, 1 << 30):
    for _ in range(rng.randrange(1, 20)):
        start = rng.randrange(image.size // 4096 - 64) * 4096
        data = number.to_bytes(8, "big") * 512 * rng.choice([1, 1, 8, 64])
        image.writev([memoryview(data)], start)
        print("w", number, start, len(data))
    print("b", flush=True)
    image.flush()
    print("f", flush=True)
"""


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(vhd.__file__).parents[2]))


def run_and_kill(command: list[str | Path], delay: float) -> str:
    """What a program printed before it was killed, or ended."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            output, _ = process.communicate(timeout=delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            output, _ = process.communicate()
    return output


def is_sound(path: Path) -> bool:
    file = open_file(path, Access.READ)
    try:
        return check(file).is_sound
    finally:
        file.close()


def check_writer(tmp_path: Path, seed: int, delay: float) -> int:
    base = create_dynamic(tmp_path / f"base{seed}", SIZE)
    path = create_child(tmp_path / f"leaf{seed}", base)
    output = run_and_kill([sys.executable, "-c", WRITER, path, str(seed)], delay)
    flushed: dict[int, int] = {}
    since: dict[int, set[int]] = {}
    flushes = 0
    complete = output[: output.rfind("\n") + 1]
    for line in complete.splitlines():
        kind, *numbers = line.split()
        if kind == "w":
            number, start, length = map(int, numbers)
            for page in range(start // 4096, (start + length) // 4096):
                since.setdefault(page, set()).add(number)
        elif kind == "f":
            flushes += 1
            # Each page was written in order, so the last one counts.
            flushed |= {page: max(values) for page, values in since.items()}
            since = {}
    assert is_sound(path)
    data = contents(path)
    last = max([0, *flushed.values(), *(max(values) for values in since.values())])
    for page in range(SIZE // 4096):
        found = int.from_bytes(data[page * 4096 : page * 4096 + 8], "big")
        # What was written last may not have been told any more.
        assert found in {flushed.get(page, 0), *since.get(page, ()), last, last + 1}
    return flushes


def test_a_writer_is_killed(tmp_path: Path) -> None:
    assert check_writer(tmp_path, 1, 1.5) > 0


@pytest.mark.slow
def test_writers_are_killed(tmp_path: Path) -> None:
    rng = random.Random(1)
    for seed in range(40):
        check_writer(tmp_path, seed, rng.uniform(0.1, 2))


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "snapshot c new", "clone c new", "coalesce c", "coalesce b c", "resize c 1g",
        "convert c new", "convert --to=raw c new", "repair c",
    ],
)  # fmt: skip
def test_programs_are_killed(tmp_path: Path, command: str) -> None:
    rng = random.Random(command)
    for number in range(25):
        directory = tmp_path / str(number)
        directory.mkdir()
        expected = bytearray(SIZE)
        paths = [create_dynamic(directory / "a", SIZE)]
        for name in ("b", "c"):
            paths.append(create_child(directory / name, paths[-1]))
            image = open_image(paths[-1], "vhd", writable=True)
            for seed in range(4):
                start = rng.randrange((SIZE - 4 * MIB) // SECTOR) * SECTOR
                write(image, start, pattern(4 * MIB, seed))
                expected[start : start + 4 * MIB] = pattern(4 * MIB, seed)
            image.close()
            os.utime(paths[-1], (1_500_000_000, 1_500_000_000))
        code = f"import os; os.chdir({str(directory)!r}); from xenolith.cli.vhd import main; main()"
        run_and_kill([sys.executable, "-c", code, *command.split()], rng.uniform(0.05, 0.5))
        assert contents(directory / "c")[:SIZE] == expected
        assert is_sound(directory / "c")
        new = directory / "new"
        if new.exists():
            assert (new.read_bytes() if "raw" in command else contents(new)) == expected
        for path in directory.iterdir():
            path.unlink()
