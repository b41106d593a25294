"""The C code that takes requests against a model of a few lines: any requests, of either layout."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from block_frontend import DATA, RAM_FRAMES, SECTORS, Frontend
from hypothesis import given, settings
from hypothesis import strategies as st

from xenolith.abi.blkif import BlkifOp, BlkifRsp
from xenolith.machine.address import PAGE_SIZE, Mfn

READONLY, MISSING = DATA + 5, DATA + 6
FRAMES = 8
"""Those that requests name, from DATA on: one may only be read, one is not granted."""

REFS = st.integers(DATA, DATA + FRAMES - 1) | st.sampled_from([0, RAM_FRAMES + 3, 2**32 - 1])
SEGMENTS = st.lists(
    st.tuples(REFS, st.integers(0, 9), st.integers(0, 9)) | st.tuples(REFS, st.just(0), st.just(7)),
    max_size=14,
)
REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([BlkifOp.READ, BlkifOp.WRITE, BlkifOp.WRITE, 4, 9]),
        st.booleans(),
        st.integers(0, SECTORS + 2) | st.sampled_from([2**55, 2**64 - 1]),
        SEGMENTS,
    ),
    min_size=1,
    max_size=6,
)


class Model:
    """A disk, the guest's frames, and what requests do to them."""

    def __init__(self, disk: bytes, memory: bytes, block: int, writable: bool) -> None:
        self.disk = bytearray(disk)
        self.memory = bytearray(memory)
        self._block = block
        self._writable = writable

    def carry_out(
        self, operation: int, indirect: bool, sector: int, segments: list[tuple[int, int, int]]
    ) -> BlkifRsp:
        if operation not in (BlkifOp.READ, BlkifOp.WRITE):
            return BlkifRsp.EOPNOTSUPP
        sectors = sum(last - first + 1 for _, first, last in segments)
        sound = (
            0 < len(segments) <= (256 if indirect else 11)
            and all(first <= last <= 7 for _, first, last in segments)
            and all(self._may_use(ref, operation) for ref, _, _ in segments)
            and sector + sectors <= len(self.disk) // 512
            and (sector * 512 % self._block, sectors * 512 % self._block) == (0, 0)
            and (operation == BlkifOp.READ or self._writable)
        )
        if not sound:
            return BlkifRsp.ERROR
        at = sector * 512
        for ref, first, last in segments:
            size = (last - first + 1) * 512
            start = (ref - DATA) * PAGE_SIZE + first * 512
            if operation == BlkifOp.READ:
                self.memory[start : start + size] = self.disk[at : at + size]
            else:
                self.disk[at : at + size] = self.memory[start : start + size]
            at += size
        return BlkifRsp.OKAY

    @staticmethod
    def _may_use(ref: int, operation: int) -> bool:
        if not DATA <= ref < DATA + FRAMES or ref == MISSING:
            return False
        return operation == BlkifOp.WRITE or ref != READONLY


@settings(max_examples=120)
@given(
    protocol=st.sampled_from(["x86_64-abi", "x86_32-abi"]),
    requests=REQUESTS,
    block=st.sampled_from([512, 4096]),
    options=st.fixed_dictionaries({"read_only": st.booleans(), "local": st.booleans()}),
    waits=st.booleans(),
)
def test_requests_do_what_the_model_does(
    protocol: str,
    requests: list[tuple[int, bool, int, list[tuple[int, int, int]]]],
    block: int,
    options: dict[str, bool],
    waits: bool,
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "disk.img"
        path.write_bytes(os.urandom(SECTORS * 512))
        frontend = Frontend(path, protocol, sector_size=block, **options)
        frontend.image.waits = waits
        frontend.grant_readonly(READONLY)
        frontend.grant(MISSING, MISSING, 0)
        frontend.connect()
        memory = frontend.data(DATA, FRAMES)
        memory[:] = os.urandom(FRAMES * PAGE_SIZE)
        model = Model(path.read_bytes(), bytes(memory), block, not options["read_only"])
        (ring,) = frontend.rings
        for operation, indirect, sector, segments in requests:
            wanted = model.carry_out(operation, indirect, sector, segments)
            # The frontend has room for no more than 11 in a slot, but may claim to have more.
            (ring.indirect if indirect else ring.direct)(operation, sector, segments)
            assert ring.answer() == (7, operation, wanted)
            assert path.read_bytes() == model.disk
            assert bytes(memory) == model.memory
        assert not any(frontend.grants.is_pinned(Mfn(DATA + frame)) for frame in range(FRAMES))
        frontend.disconnect()
        frontend.close()
