"""Chains of VHDs behave as an array of bytes does, whatever is done to them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from disk_model import SECTOR, create_child, create_dynamic, create_fixed, pattern, read, write
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from xenolith.storage import changes
from xenolith.storage.live import LiveImage
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_file
from xenolith.storage.open import open_image

BLOCK = 16 << 10
SIZE = 10 * BLOCK + 3 * SECTOR
SECTORS = SIZE // SECTOR

OFFSETS = st.integers(0, 4 * SECTORS)
LENGTHS = st.one_of(st.integers(1, 8), st.integers(1, 3 * BLOCK // SECTOR))


class ChainMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.model = bytearray(SIZE)
        self.links = 0
        self.path = self.directory / "leaf"
        self.seed = 0
        self.image: LiveImage

    @property
    def image_format(self) -> str:
        return "raw" if self.path.suffix == ".raw" else "vhd"

    @initialize(kind=st.sampled_from(["dynamic", "fixed", "raw"]))
    def create(self, kind: str) -> None:
        self.path = self.directory / f"base.{'raw' if kind == 'raw' else 'vhd'}"
        if kind == "dynamic":
            create_dynamic(self.path, SIZE, BLOCK)
        elif kind == "fixed":
            create_fixed(self.path, SIZE)
        else:
            self.model[:] = pattern(SIZE, 99)
            self.path.write_bytes(self.model)
        self.open()

    def open(self) -> None:
        self.image = open_image(self.path, self.image_format, writable=True)

    def clip(self, offset: int, length: int) -> tuple[int, int]:
        start = offset * SECTOR % len(self.model)
        return start, min(length * SECTOR, len(self.model) - start)

    @rule(offset=OFFSETS, length=LENGTHS)
    def write(self, offset: int, length: int) -> None:
        start, count = self.clip(offset, length)
        self.seed += 1
        data = pattern(count, self.seed)
        write(self.image, start, data)
        self.model[start : start + count] = data

    @rule(offset=OFFSETS, length=LENGTHS, as_data=st.booleans())
    def zero(self, offset: int, length: int, as_data: bool) -> None:
        start, count = self.clip(offset, length)
        if as_data:
            write(self.image, start, bytes(count))
        else:
            self.image.write_zeroes(start, count)
        self.model[start : start + count] = bytes(count)

    @rule(offset=OFFSETS, length=LENGTHS)
    def discard(self, offset: int, length: int) -> None:
        start, count = self.clip(offset, length)
        self.image.discard(start, count)
        after = read(self.image, start, count)
        before = self.model[start : start + count]
        for at in range(0, count, SECTOR):
            assert after[at : at + SECTOR] in (bytes(SECTOR), before[at : at + SECTOR])
        self.model[start : start + count] = after

    @rule(offset=OFFSETS, length=LENGTHS)
    def read(self, offset: int, length: int) -> None:
        start, count = self.clip(offset, length)
        assert read(self.image, start, count) == self.model[start : start + count]

    @rule()
    def flush(self) -> None:
        self.image.flush()

    @rule()
    def reopen(self) -> None:
        self.image.close()
        self.open()

    @rule(block_size=st.sampled_from([BLOCK, BLOCK // 4, BLOCK * 2]))
    def snapshot(self, block_size: int) -> None:
        if len(self.image.files) < 6:
            self.image.close()
            raw = self.image_format == "raw"
            self.links += 1
            child = self.directory / f"{self.links}.vhd"
            create_child(child, self.path, block_size, raw=raw)
            self.path = child
            self.open()

    @rule()
    def online_snapshot(self) -> None:
        if len(self.image.files) < 6:
            self.links += 1
            self.path = self.directory / f"{self.links}.vhd"
            self.path.touch()
            changes.snapshot(self.image, open_file(self.path, Access.WRITE))

    @rule(data=st.data())
    def coalesce(self, data: st.DataObject) -> None:
        files = self.image.files
        if len(files) > 1:
            link = data.draw(st.integers(0, len(files) - 2))
            writable = [open_file(file.name, Access.WRITE) for file in files[: link + 2]]
            changes.coalesce(self.image, link, writable)
            self.path = Path(self.image.files[0].name)

    @rule(growth=st.integers(1, 3 * SECTORS))
    def grow(self, growth: int) -> None:
        if len(self.model) < 8 * SIZE:
            size = len(self.model) + growth * SECTOR
            changes.resize(self.image, size)
            self.model.extend(bytes(size - len(self.model)))

    @rule(part=st.floats(0.1, 1))
    def shrink(self, part: float) -> None:
        if len(self.image.files) == 1:
            size = max(1, int(len(self.model) // SECTOR * part)) * SECTOR
            changes.resize(self.image, size)
            del self.model[size:]

    @invariant()
    def holds_the_same(self) -> None:
        if hasattr(self, "image"):
            assert self.image.size == len(self.model)
            assert read(self.image, 0, len(self.model)) == self.model

    def teardown(self) -> None:
        if hasattr(self, "image"):
            self.image.close()
        shutil.rmtree(self.directory)


ChainMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
test_chains = ChainMachine.TestCase
