"""Damaged, hostile and changed images are refused or repaired, and never make it worse."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from disk_model import (
    MIB,
    SECTOR,
    contents,
    create_child,
    create_dynamic,
    create_fixed,
    pattern,
    read,
    write,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xenolith.storage.errors import ImageError
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_file, open_locked
from xenolith.storage.open import image_from, locate, open_image
from xenolith.storage.vhd import footer, header
from xenolith.storage.vhd.check import Problem, Report, check
from xenolith.storage.vhd.footer import Footer
from xenolith.storage.vhd.header import Header
from xenolith.storage.vhd.repair import repair
from xenolith.storage.vhd.rewrite import accept_parent

BLOCK = 2 * MIB
SIZE = 10 * BLOCK
TABLE = 1536


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An image with blocks 0, 3 and 7."""
    path = create_dynamic(tmp_path / "disk.vhd", SIZE)
    image = open_image(path, "vhd", writable=True)
    for block in (3, 0, 7):
        write(image, block * BLOCK, pattern(BLOCK, block))
    image.close()
    return path


def checked(path: Path) -> Report:
    file = open_file(path, Access.READ)
    try:
        return check(file)
    finally:
        file.close()


def repaired(path: Path) -> list[str]:
    file = open_locked(path, Access.WRITE)
    try:
        return repair(file)
    finally:
        file.close()


def poke(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset, os.SEEK_SET if offset >= 0 else os.SEEK_END)
        file.write(data)


def change_footers(path: Path, change: Callable[[Footer], Footer]) -> None:
    data = path.read_bytes()
    foot = change(footer.parse(data[-512:])).pack()
    if data[:8] == b"conectix":
        poke(path, 0, foot)
    poke(path, -512, foot)


def change_header(path: Path, change: Callable[[Header], Header]) -> None:
    poke(path, 512, change(header.parse(path.read_bytes()[512:1536])).pack())


def entry(path: Path, block: int) -> int:
    found: tuple[int] = struct.unpack_from(">I", path.read_bytes(), TABLE + 4 * block)
    return found[0]


def set_entry(path: Path, block: int, sector: int) -> None:
    poke(path, TABLE + 4 * block, struct.pack(">I", sector))


def expected(*blocks: int) -> bytes:
    data = bytearray(SIZE)
    for block in blocks:
        data[block * BLOCK : (block + 1) * BLOCK] = pattern(BLOCK, block)
    return bytes(data)


def test_a_sound_image_is_sound(path: Path) -> None:
    report = checked(path)
    assert report.is_sound
    assert (report.allocated, report.unused) == (3, 0)
    before = path.read_bytes()
    assert repaired(path) == []
    assert path.read_bytes() == before


REFUSED: dict[str, tuple[Callable[[Header], Header], str]] = {
    "block size 0": (lambda head: replace(head, block_size=0), "block size is 0"),
    "block size 3 MiB": (lambda head: replace(head, block_size=3 * MIB), "block size"),
    "block size 512": (lambda head: replace(head, block_size=512), "block size"),
    "block size 2 GiB": (lambda head: replace(head, block_size=2 << 30), "block size"),
    "too few blocks": (lambda head: replace(head, entries=9), "cannot hold its disk"),
    "no blocks": (lambda head: replace(head, entries=0), "cannot hold its disk"),
    "2^32 blocks": (lambda head: replace(head, entries=2**32 - 1), "too large"),
    "beyond 2040 GiB": (lambda head: replace(head, entries=1044482), "too large"),
    "cut in the table": (lambda head: replace(head, entries=1044480), "is cut within its block"),
    "table at 2^62": (lambda head: replace(head, table_offset=1 << 62), "is cut within its block"),
    "table between sectors": (lambda head: replace(head, table_offset=1000), "does not begin"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("writable", [False, True])
def test_headers_that_make_no_sense(tmp_path: Path, case: str, writable: bool) -> None:
    path = create_dynamic(tmp_path / "disk.vhd", SIZE)
    change, message = REFUSED[case]
    change_header(path, change)
    with pytest.raises(ImageError, match=message):
        open_image(path, "vhd", writable)
    assert [finding.problem for finding in checked(path).findings] == [Problem.UNREADABLE]
    with pytest.raises(ImageError, match="cannot be repaired"):
        repaired(path)


@pytest.mark.parametrize(
    ("size", "message"),
    [((2040 << 30) + 512, "2040 GiB"), (2**64 - 512, "2040 GiB"), (SIZE + 512, "cannot hold")],
)
def test_disks_that_are_too_large(path: Path, size: int, message: str) -> None:
    change_footers(path, lambda foot: replace(foot, current_size=size))
    with pytest.raises(ImageError, match=message):
        open_image(path, "vhd", writable=False)


def test_a_fixed_disk_that_is_cut(tmp_path: Path) -> None:
    path = create_fixed(tmp_path / "disk.vhd", SIZE)
    change_footers(path, lambda foot: replace(foot, current_size=SIZE + 512))
    with pytest.raises(ImageError, match="is cut"):
        open_image(path, "vhd", writable=False)


@pytest.mark.parametrize("length", [0, 1, 511, 512, 1000, 1536, 1540])
def test_files_that_are_cut_in_the_headers(path: Path, length: int) -> None:
    os.truncate(path, length)
    with pytest.raises(ImageError, match=r"is no sound VHD|is cut within"):
        open_image(path, "vhd", writable=False)


def test_a_file_that_is_cut_in_the_data(path: Path) -> None:
    os.truncate(path, path.stat().st_size - BLOCK // 2)
    image = open_image(path, "vhd", writable=False)
    assert read(image, 0, BLOCK) == pattern(BLOCK, 0)
    with pytest.raises(ImageError, match="block 7 lies outside the file"):
        read(image, 7 * BLOCK, SECTOR)
    image.close()
    # To write to it might put another block where the lost one was.
    with pytest.raises(ImageError, match="it can be read only"):
        open_image(path, "vhd", writable=True)
    problems = {finding.problem for finding in checked(path).findings}
    assert problems == {Problem.NO_FOOTER, Problem.OUTSIDE}
    assert any("gave up 1 blocks, whose data is lost: 7" in line for line in repaired(path))
    assert checked(path).is_sound
    assert contents(path) == expected(0, 3)


def test_a_lost_footer(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 512)
    assert contents(path) == expected(0, 3, 7)
    assert [finding.problem for finding in checked(path).findings] == [Problem.NO_FOOTER]
    image = open_image(path, "vhd", writable=True)
    write(image, BLOCK, pattern(BLOCK, 1))
    image.close()
    assert checked(path).is_sound
    assert contents(path) == expected(0, 1, 3, 7)


def test_a_lost_footer_copy(path: Path) -> None:
    poke(path, 0, bytes(512))
    assert contents(path) == expected(0, 3, 7)
    assert [finding.problem for finding in checked(path).findings] == [Problem.NO_COPY]
    assert repaired(path) == ["restored the copy of the footer at the beginning"]
    assert checked(path).is_sound


def test_both_footers_lost(path: Path) -> None:
    for offset in (0, -512):
        poke(path, offset, b"x")
    with pytest.raises(ImageError, match="in its footer, it does not begin with 'conectix'"):
        open_image(path, "vhd", writable=False)


@pytest.mark.parametrize("sector", [0, 1, 3, 4, 2**31, 2**32 - 2])
def test_table_entries_that_point_nowhere(path: Path, sector: int) -> None:
    before = path.read_bytes()
    set_entry(path, 5, sector)
    image = open_image(path, "vhd", writable=False)
    with pytest.raises(ImageError, match="block 5 lies"):
        read(image, 5 * BLOCK, SECTOR)
    assert read(image, 0, BLOCK) == pattern(BLOCK, 0)
    image.close()
    try:
        image = open_image(path, "vhd", writable=True)
    except ImageError:
        pass
    else:
        with pytest.raises(ImageError, match="block 5 lies"):
            write(image, 5 * BLOCK, pattern(SECTOR, 1))
        image.close()
    (finding,) = checked(path).findings
    assert finding.problem in (Problem.OUTSIDE, Problem.IN_HEADERS)
    repaired(path)
    assert checked(path).is_sound
    assert path.read_bytes() == before


def test_blocks_that_overlap_get_places_of_their_own(path: Path) -> None:
    set_entry(path, 5, entry(path, 3))
    set_entry(path, 6, entry(path, 3) + 4)
    blocks = checked(path).blocks(Problem.OVERLAP)
    assert len(blocks) == 2
    assert any(
        "places of their own" in line or "place of their own" in line for line in repaired(path)
    )
    assert checked(path).is_sound
    data = contents(path)
    assert data[3 * BLOCK : 4 * BLOCK] == data[5 * BLOCK : 6 * BLOCK] == pattern(BLOCK, 3)
    assert data[:BLOCK] == pattern(BLOCK, 0)


def test_what_a_crash_left_over_is_freed(path: Path) -> None:
    with path.open("ab") as file:
        foot = path.read_bytes()[-512:]
        file.write(bytes(5 * MIB) + foot)
    assert checked(path).is_sound
    assert checked(path).unused > 4 * MIB
    repaired(path)
    assert checked(path).unused == 0
    assert contents(path) == expected(0, 3, 7)


def test_a_guest_cannot_make_its_fixed_disk_another(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 512)
    path = create_fixed(tmp_path / "disk.vhd", SIZE)
    evil = create_child(tmp_path / "evil.vhd", secret, raw=True).read_bytes()
    image = open_image(path, "vhd", writable=True)
    write(image, 0, evil[: len(evil) // 512 * 512])
    image.close()
    image = open_image(path, "vhd", writable=False)
    assert len(image.files) == 1
    assert read(image, 0, SECTOR) == evil[:SECTOR]
    image.close()


def test_a_block_cannot_hide_in_the_parent_locators(tmp_path: Path, path: Path) -> None:
    child = create_child(tmp_path / "child.vhd", path)
    image = open_image(child, "vhd", writable=True)
    write(image, 0, pattern(BLOCK, 1))
    image.close()
    at = entry(child, 0) * 512
    place = header.Locator(b"W2ru", 512, 10, at + BLOCK // 2)
    change_header(child, lambda head: replace(head, locators=(*head.locators[:3], place)))
    image = open_image(child, "vhd", writable=True)
    for access in (
        lambda: read(image, 0, SECTOR), lambda: write(image, BLOCK // 2, pattern(SECTOR, 2)),
    ):  # fmt: skip
        with pytest.raises(ImageError, match="block 0 lies in the image's headers"):
            access()
    image.close()


def test_a_file_that_ends_with_its_table(path: Path) -> None:
    os.truncate(path, TABLE + 4 * 10)
    repaired(path)
    assert checked(path).is_sound
    assert contents(path) == bytes(SIZE)


def test_a_locator_that_points_nowhere(tmp_path: Path, path: Path) -> None:
    child = create_child(tmp_path / "child.vhd", path)
    place = header.Locator(b"MacX", 512, 10, 1 << 56)
    change_header(child, lambda head: replace(head, locators=(*head.locators[:3], place)))
    os.truncate(child, child.stat().st_size - 512)
    assert repaired(child) == ["put the footer where the contents end"]
    assert child.stat().st_size < MIB
    assert contents(child) == contents(path)


class TestChains:
    @pytest.fixture
    def child(self, tmp_path: Path, path: Path) -> Path:
        return create_child(tmp_path / "child.vhd", path)

    def test_a_parent_that_is_gone(self, path: Path, child: Path) -> None:
        path.unlink()
        with pytest.raises(ImageError, match=r"parent of .*child.vhd cannot be found: .*disk.vhd"):
            open_image(child, "vhd", writable=False)

    def test_another_parent_of_the_same_name(self, path: Path, child: Path) -> None:
        path.unlink()
        create_dynamic(path, SIZE)
        with pytest.raises(ImageError, match="has the UUID"):
            open_image(child, "vhd", writable=False)

    def test_a_parent_that_was_modified(self, path: Path, child: Path) -> None:
        os.utime(path, (1, 1_600_000_000))
        with pytest.raises(ImageError, match=r"was modified after .* --accept-parent"):
            open_image(child, "vhd", writable=False)
        opened = open_file(child, Access.WRITE), open_file(path, Access.READ)
        accept_parent(*opened)
        for file in opened:
            file.close()
        assert contents(child) == expected(0, 3, 7)

    @pytest.mark.parametrize("length", [1, 2, 5])
    def test_a_loop(self, tmp_path: Path, path: Path, child: Path, length: int) -> None:
        last = path
        for number in range(length):
            last = create_child(tmp_path / f"{number}.vhd", last)
        first = tmp_path / "0.vhd"
        identity = footer.parse(last.read_bytes()[:512]).unique_id
        encoded = f".\\{last.name}".encode("utf-16-le")
        change_header(first, lambda head: replace(head, parent_id=identity, parent_timestamp=0))
        place = next(
            item
            for item in header.parse(first.read_bytes()[512:1536]).locators
            if item.code == b"W2ru"
        )
        poke(first, place.offset, encoded.ljust(place.length, b"\0"))
        for number in range(length):
            change_header(
                tmp_path / f"{number}.vhd", lambda head: replace(head, parent_timestamp=0)
            )
        with pytest.raises(ImageError, match="is its own ancestor"):
            open_image(last, "vhd", writable=False)

    def test_a_leaf_that_is_open_is_no_parent(self, path: Path, child: Path) -> None:
        image = open_image(path, "vhd", writable=True)
        with pytest.raises(ImageError, match=r"disk.vhd is in use"):
            open_image(child, "vhd", writable=True)
        image.close()

    def test_many_children_share_a_parent_that_nobody_writes(
        self, tmp_path: Path, path: Path, child: Path
    ) -> None:
        sibling = create_child(tmp_path / "sibling.vhd", path)
        images = [open_image(leaf, "vhd", writable=True) for leaf in (child, sibling)]
        with pytest.raises(ImageError, match=r"disk.vhd is in use"):
            open_image(path, "vhd", writable=True)
        for image in images:
            image.close()

    def test_files_that_are_no_chain(self, path: Path, child: Path) -> None:
        located = locate(child, "vhd", writable=False)
        files = located.files
        for wrong in (files[:1], [*files, files[0]], [files[0], files[0]], [files[1], files[0]]):
            with pytest.raises(ImageError, match=r"parent|ancestor"):
                image_from(wrong, "vhd", writable=False)
        located.close()

    def test_a_parent_of_another_size(self, tmp_path: Path) -> None:
        raw = tmp_path / "base.raw"
        raw.write_bytes(pattern(MIB, 5))
        child = create_child(tmp_path / "c.vhd", raw, raw=True)
        os.truncate(raw, MIB // 2)
        stamp = child.stat().st_mtime
        os.utime(raw, (stamp, stamp))
        change_header(child, lambda head: replace(head, parent_timestamp=0))
        assert contents(child) == pattern(MIB // 2, 5) + bytes(MIB // 2)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_image_is_refused_read_or_repaired(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes of the metadata are changed, nothing but ImageError comes of it."""
    path = tmp_path / "fuzzed.vhd"
    if not path.exists():
        base = create_dynamic(tmp_path / "fuzzed-base.vhd", 64 << 10, 16 << 10)
        create_child(path, base, 16 << 10)
        image = open_image(path, "vhd", writable=True)
        write(image, 16 << 10, pattern(16 << 10, 1))
        image.close()
        (tmp_path / "pristine").write_bytes(path.read_bytes())
    damaged = bytearray((tmp_path / "pristine").read_bytes())
    size = len(damaged)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.one_of(st.integers(0, 5000), st.integers(size - 512, size - 1)))
        damaged[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        # Let it get past the checksums.
        damaged[:512] = footer.with_checksum(bytes(damaged[:512]), 64)
        damaged[512:1536] = footer.with_checksum(bytes(damaged[512:1536]), 36)
        damaged[-512:] = footer.with_checksum(bytes(damaged[-512:]), 64)
    del damaged[data.draw(st.integers(0, size)) if data.draw(st.booleans()) else size :]
    path.write_bytes(damaged)
    for writable in (False, True):
        try:
            image = open_image(path, "vhd", writable)
        except ImageError:
            continue
        try:
            length = min(image.size, 1 << 20)
            read(image, 0, length)
            if writable and length:
                write(image, 0, pattern(min(length, 4096), 3))
        except ImageError:
            pass
        finally:
            image.close()
    checked(path)
    try:
        repaired(path)
    except ImageError:
        return
    assert checked(path).is_sound
