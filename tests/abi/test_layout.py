"""Layouts of arrays, nested and packed structs, which no header of ours would exercise alone."""

from __future__ import annotations

import struct
from typing import Annotated, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from xenolith.abi.layout import U8, U16, U32, U64, Layout
from xenolith.abi.xen import VCPU_INFO


class Inner(NamedTuple):
    wide: U64
    narrow: U8


INNER = Layout(Inner)


class Outer(NamedTuple):
    first: U8
    inner: Annotated[Inner, INNER]
    words: Annotated[tuple[int, ...], "3H"]
    text: Annotated[bytes, "5s"]
    last: U32


OUTER = Layout(Outer)


class Packed(NamedTuple):
    first: U32
    wide: U64
    last: U16


PACKED = Layout(Packed, pack=4)


def test_a_nested_struct_is_aligned_and_padded_as_in_c() -> None:
    assert INNER.size == 16
    assert OUTER.offsets == {"first": 0, "inner": 8, "words": 24, "text": 30, "last": 36}
    assert OUTER.size == 40


def test_pack_caps_the_alignment() -> None:
    assert PACKED.offsets == {"first": 0, "wide": 4, "last": 12}
    assert PACKED.size == 16


def test_the_image_is_the_one_that_struct_makes() -> None:
    image = OUTER.pack(Outer(1, Inner(2, 3), (4, 5, 6), b"seven", 8))
    assert image == struct.pack("<B7xQB7x3H5sxI", 1, 2, 3, 4, 5, 6, b"seven", 8)


@given(st.binary(min_size=OUTER.size + 3, max_size=OUTER.size + 3))
def test_unpack_and_pack_agree_but_for_the_padding(image: bytes) -> None:
    record = OUTER.unpack(image, 3)
    assert OUTER.unpack(OUTER.pack(record)) == record
    target = bytearray(OUTER.size)
    OUTER.pack_into(target, 0, record)
    assert target == OUTER.pack(record)


@given(st.binary(min_size=VCPU_INFO.size, max_size=VCPU_INFO.size))
def test_vcpu_info_reads_the_fields_at_their_offsets(image: bytes) -> None:
    info = VCPU_INFO.unpack(image)
    assert info.evtchn_pending_sel == int.from_bytes(image[8:16], "little")
    assert info.time.tsc_timestamp == int.from_bytes(image[40:48], "little")
