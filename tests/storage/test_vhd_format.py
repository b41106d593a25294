"""Footers, headers, geometries, locators and bitmaps, as the specification has them."""

from __future__ import annotations

import struct
import uuid
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from disk_model import MIB, create_child, create_dynamic, create_fixed, pattern, read, write
from hypothesis import given
from hypothesis import strategies as st

from xenolith.storage.errors import ImageError
from xenolith.storage.open import open_image
from xenolith.storage.vhd import bitmap, footer, header, locator
from xenolith.storage.vhd.footer import DiskType, Footer, new_footer
from xenolith.storage.vhd.geometry import LARGEST, Geometry, geometry_of
from xenolith.storage.vhd.header import Header, Locator

GIB = 1 << 30


def test_a_footer_is_where_the_specification_has_it() -> None:
    sector = new_footer(GIB, DiskType.DYNAMIC).pack()
    assert len(sector) == 512
    assert sector[:8] == b"conectix"
    assert struct.unpack_from(">Q", sector, 16) == (512,)
    assert struct.unpack_from(">QQ", sector, 40) == (GIB, GIB)
    assert struct.unpack_from(">I", sector, 60) == (3,)
    total = sum(sector[:64]) + sum(sector[68:])
    assert struct.unpack_from(">I", sector, 64) == (~total & 0xFFFFFFFF,)


FOOTERS = st.builds(
    Footer,
    data_offset=st.integers(0, 2**64 - 1),
    timestamp=st.integers(0, 2**32 - 1),
    creator=st.binary(min_size=4, max_size=4),
    creator_version=st.integers(0, 2**32 - 1),
    creator_os=st.binary(min_size=4, max_size=4),
    original_size=st.integers(0, 2**64 - 1),
    current_size=st.integers(0, 2**64 - 1),
    geometry=st.builds(Geometry, st.integers(0, 65535), st.integers(0, 255), st.integers(0, 255)),
    disk_type=st.sampled_from(DiskType),
    unique_id=st.uuids(),
    saved_state=st.integers(0, 255),
    hidden=st.integers(0, 255),
    features=st.integers(0, 2**32 - 1),
)

HEADERS = st.builds(
    Header,
    table_offset=st.integers(0, 2**54).map(lambda sector: sector * 512),
    entries=st.integers(0, 1_000_000),
    block_size=st.sampled_from([512 << 10, 2 * MIB]),
    parent_id=st.uuids(),
    parent_timestamp=st.integers(0, 2**32 - 1),
    parent_name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=100),
    locators=st.lists(
        st.builds(
            Locator,
            st.sampled_from(locator.BY_PREFERENCE),
            *[st.integers(0, 2**32 - 1)] * 2,
            st.integers(0, 2**64 - 1),
        ),
        min_size=8, max_size=8,
    ).map(tuple),
)  # fmt: skip


@given(FOOTERS)
def test_footers_are_read_as_they_were_written(foot: Footer) -> None:
    assert footer.parse(foot.pack()) == foot


@given(HEADERS)
def test_headers_are_read_as_they_were_written(head: Header) -> None:
    assert header.parse(head.pack()) == head


@given(st.binary(max_size=1100))
def test_nonsense_is_refused(data: bytes) -> None:
    for parse in (footer.parse, header.parse):
        with pytest.raises(ValueError, match=r"it|its"):
            parse(data)


@given(HEADERS, st.integers(0, 1023), st.integers(1, 255))
def test_a_changed_byte_does_not_go_unnoticed(head: Header, at: int, change: int) -> None:
    data = bytearray(head.pack())
    data[at] ^= change
    with pytest.raises(ValueError, match=r"it|its"):
        header.parse(bytes(data))


@pytest.mark.parametrize(
    ("creator", "by_geometry"),
    [
        (b"vpc ", True), (b"qemu", True), (b"vs  ", True), (b"????", True),
        (b"win ", False), (b"qem2", False), (b"d2v ", False), (b"tap\0", False),
    ],
)  # fmt: skip
def test_the_size_is_that_which_the_creator_means(creator: bytes, by_geometry: bool) -> None:
    size = GIB + 512
    foot = replace(new_footer(size, DiskType.DYNAMIC), creator=creator)
    assert foot.size == (geometry_of(size).size if by_geometry else size)
    large = replace(new_footer(200 * GIB, DiskType.DYNAMIC), creator=creator)
    assert large.geometry == LARGEST
    assert large.size == 200 * GIB


@given(st.integers(1, 2040 * GIB // 512).map(lambda sectors: sectors * 512))
def test_a_geometry_reaches_almost_to_the_end(size: int) -> None:
    cylinders, heads, sectors = geometry = geometry_of(size)
    assert (cylinders, heads, sectors) <= (65535, 16, 255)
    assert geometry.size <= size
    if size <= LARGEST.size:
        assert size - geometry.size < heads * sectors * 512


@pytest.mark.parametrize(
    ("size", "expected"),
    [(100 * MIB, (1003, 12, 17)), (GIB, (2080, 16, 63)), (40 * GIB, (20560, 16, 255))],
)
def test_known_geometries(size: int, expected: tuple[int, int, int]) -> None:
    assert geometry_of(size) == expected


@given(st.integers(0, 2**4096 - 1))
def test_bitmaps_are_read_as_they_were_written(sectors: int) -> None:
    assert bitmap.unpack(bitmap.pack(sectors, 512)) == sectors
    runs = list(bitmap.runs(sectors))
    assert sum(bitmap.mask(*run) for run in runs) == sectors
    assert all(before[1] < after[0] for before, after in pairwise(runs))


def test_the_first_sector_is_the_most_significant_bit() -> None:
    assert bitmap.pack(1, 2) == b"\x80\0"
    assert bitmap.pack(1 << 9, 2) == b"\0\x40"


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0\\"), min_size=1, max_size=20
).filter(lambda name: name not in (".", "..") and "%" not in name and ":" not in name)
PATHS = st.lists(NAMES, min_size=1, max_size=5).map(lambda names: "/" + "/".join(names))


@given(PATHS, PATHS)
def test_locators_lead_from_the_child_to_the_parent(parent: str, child: str) -> None:
    directory = child.rpartition("/")[0] or "/"
    for code, data in locator.encode(parent, child).items():
        assert parent in locator.decode(code, data, directory)


def test_locators_of_windows_and_of_vhd_util() -> None:
    def windows(path: str) -> bytes:
        return path.encode("utf-16-le")

    relative = list(locator.decode(b"W2ru", windows(".\\parent.vhd"), "/images"))
    assert relative == ["/images/parent.vhd"]
    absolute = list(locator.decode(b"W2ku", windows("C:\\images\\a.vhd"), "/here"))
    assert absolute == ["/images/a.vhd"]
    url = list(locator.decode(b"MacX", b"file://./parent%20a.vhd", "/images"))
    assert url == ["/images/parent%20a.vhd", "/images/parent a.vhd"]


def test_every_locator_is_enough_to_find_the_parent(tmp_path: Path) -> None:
    create_dynamic(tmp_path / "base.vhd", MIB)
    for code in locator.BY_PREFERENCE:
        path = create_child(tmp_path / f"{code.decode()}.vhd", tmp_path / "base.vhd")
        data = bytearray(path.read_bytes())
        head = header.parse(bytes(data[512:1536]))
        kept = tuple(entry for entry in head.locators if entry.code == code)
        assert len(kept) == 1
        data[512:1536] = replace(head, locators=kept, parent_name="").pack()
        path.write_bytes(data)
        image = open_image(path, "vhd", writable=False)
        assert [Path(file.name).name for file in image.files] == [path.name, "base.vhd"]
        image.close()


def test_a_chain_that_is_moved_as_a_whole_is_found(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "snapshots").mkdir(parents=True)
    create_dynamic(here / "base.vhd", MIB)
    create_child(here / "snapshots/child.vhd", here / "base.vhd")
    here.rename(there)
    image = open_image(there / "snapshots/child.vhd", "vhd", writable=True)
    assert image.files[1].name == str(there / "base.vhd")
    image.close()


@pytest.mark.parametrize("size", [0, 511, (2040 << 30) + 512])
def test_sizes_that_no_vhd_can_have(tmp_path: Path, size: int) -> None:
    for create in (create_dynamic, create_fixed):
        with pytest.raises(ImageError, match="2040 GiB"):
            create(tmp_path / "disk.vhd", size)
    assert not list(tmp_path.iterdir())


def test_zeroes_allocate_nothing(tmp_path: Path) -> None:
    path = create_dynamic(tmp_path / "disk.vhd", 64 * MIB)
    image = open_image(path, "vhd", writable=True)
    length = path.stat().st_size
    write(image, 0, bytes(8 * MIB))
    image.write_zeroes(0, 64 * MIB)
    image.discard(0, 64 * MIB)
    image.flush()
    assert path.stat().st_size == length
    write(image, 3 * MIB, pattern(MIB, 1))
    image.flush()
    full = path.stat().st_blocks
    image.discard(2 * MIB, 2 * MIB)
    assert path.stat().st_blocks < full - MIB // 1024
    image.close()


def test_zeroes_in_a_child_hide_what_the_parent_has(tmp_path: Path) -> None:
    base = create_dynamic(tmp_path / "base.vhd", 8 * MIB)
    image = open_image(base, "vhd", writable=True)
    write(image, 0, pattern(4 * MIB, 1))
    image.close()
    image = open_image(create_child(tmp_path / "child.vhd", base), "vhd", writable=True)
    image.write_zeroes(MIB, MIB)
    write(image, 2 * MIB, bytes(512))
    image.flush()
    # The zeroes are holes in the child's file.
    assert (tmp_path / "child.vhd").stat().st_blocks * 512 < 64 << 10
    expected = pattern(MIB, 1) + bytes(MIB + 512) + pattern(2 * MIB - 512, 1)
    assert read(image, 0, 4 * MIB) == expected
    image.close()


def test_whoever_hid_an_image_without_a_checksum_is_forgiven() -> None:
    old = replace(
        new_footer(GIB, DiskType.DYNAMIC), creator_version=0x00010001, unique_id=uuid.uuid4()
    )
    sector = bytearray(old.pack())
    sector[85] = 1
    assert footer.parse(bytes(sector)).hidden == 1
    sector[86] = 1
    with pytest.raises(ValueError, match="checksum"):
        footer.parse(bytes(sector))
