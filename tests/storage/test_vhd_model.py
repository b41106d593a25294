"""Chains of VHDs behave as an array of bytes does, whatever is done to them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from disk_model import SECTOR, create_child, create_dynamic, create_fixed, pattern, read, write
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from xenolith.storage.image import Image
from xenolith.storage.open import open_image

BLOCK = 16 << 10
SIZE = 10 * BLOCK + 3 * SECTOR
SECTORS = SIZE // SECTOR

OFFSETS = st.integers(0, SECTORS - 1)
LENGTHS = st.one_of(st.integers(1, 8), st.integers(1, 3 * BLOCK // SECTOR))


class ChainMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.model = bytearray(SIZE)
        self.links = 1
        self.seed = 0
        self.image: Image

    @property
    def leaf(self) -> Path:
        return self.directory / f"{self.links}.vhd"

    @initialize(kind=st.sampled_from(["dynamic", "fixed", "raw"]))
    def create(self, kind: str) -> None:
        if kind == "dynamic":
            create_dynamic(self.leaf, SIZE, BLOCK)
        elif kind == "fixed":
            create_fixed(self.leaf, SIZE)
        else:
            raw = self.directory / "base.raw"
            self.model[:] = pattern(SIZE, 99)
            raw.write_bytes(self.model)
            create_child(self.leaf, raw, BLOCK, raw=True)
        self.open()

    def open(self) -> None:
        self.image = open_image(self.leaf, "vhd", writable=True)

    def clip(self, offset: int, length: int) -> tuple[int, int]:
        start = offset * SECTOR
        return start, min(length * SECTOR, SIZE - start)

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
        if self.links < 6:
            self.image.close()
            parent = self.leaf
            self.links += 1
            create_child(self.leaf, parent, block_size)
            self.open()

    @invariant()
    def holds_the_same(self) -> None:
        if hasattr(self, "image"):
            assert read(self.image, 0, SIZE) == self.model

    def teardown(self) -> None:
        if hasattr(self, "image"):
            self.image.close()
        shutil.rmtree(self.directory)


ChainMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
test_chains = ChainMachine.TestCase
