"""netchannel2's layouts and numbers against the compiler's view of the header that our guest is built with."""

from __future__ import annotations

import shutil
import subprocess
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from xenolith.abi import netchannel2, uring
from xenolith.abi.layout import Layout

HEADER = Path(__file__).parents[2] / "guests" / "netchannel2" / "netchannel2.h"
COMPILER = shutil.which("gcc") or shutil.which("cc")

STRUCTS: dict[str, Layout[Any]] = {
    "netchannel2_sring": uring.SRING,
    "netchannel2_shared": uring.SHARED,
    "netchannel2_msg_hdr": uring.MSG_HDR,
    "netchannel2_msg_set_max_packets": netchannel2.MSG_SET_MAX_PACKETS,
    "netchannel2_fragment": netchannel2.FRAGMENT,
    "netchannel2_msg_packet": netchannel2.MSG_PACKET,
    "netchannel2_msg_finish_packet": netchannel2.MSG_FINISH_PACKET,
    "netchannel2_msg_set_offload": netchannel2.MSG_SET_OFFLOAD,
    "netchannel2_msg_set_max_fragments_per_packet": netchannel2.MSG_SET_MAX_FRAGMENTS_PER_PACKET,
}
NUMBERS: dict[str, type[IntEnum]] = {
    "NETCHANNEL2_MSG_": netchannel2.Msg,
    "NC2_PACKET_FLAG_": netchannel2.PacketFlag,  # type: ignore[dict-item]
    "NC2_PACKET_TYPE_": netchannel2.PacketType,
    "NC2_PACKET_SEGMENTATION_TYPE_": netchannel2.SegmentationType,
}


def expectations() -> dict[str, int]:
    """Our value of each C expression."""
    expected = {
        "NETCHANNEL2_MSG_PAD": uring.NETCHANNEL2_MSG_PAD,
        "NETCHANNEL2_MAX_PACKET_BYTES": netchannel2.NETCHANNEL2_MAX_PACKET_BYTES,
        "NETCHANNEL2_MAX_INLINE_BYTES": netchannel2.NETCHANNEL2_MAX_INLINE_BYTES,
    }
    for prefix, numbers in NUMBERS.items():
        expected |= {f"{prefix}{member.name}": member.value for member in numbers}
    for name, layout in STRUCTS.items():
        expected[f"sizeof(struct {name})"] = layout.size
        for field, offset in layout.offsets.items():
            if field != "pad":
                expected[f"offsetof(struct {name}, {field})"] = offset
    for number, word in enumerate(("prod", "cons", "prod_event", "cons_event")):
        assert getattr(uring, word.upper()) == number
        assert uring.SRING.offsets[word] == number * 4
    return expected


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_sizes_offsets_and_values_are_those_of_the_header(tmp_path: Path) -> None:
    assert COMPILER is not None
    expected = expectations()
    lines = "".join(f'printf("%lu\\n", (unsigned long)({each}));\n' for each in expected)
    source = f'#include <stddef.h>\n#include <stdio.h>\n#include "{HEADER}"\nint main(void) {{\n'
    program = tmp_path / "program"
    subprocess.run(
        [COMPILER, "-x", "c", "-", "-o", str(program)],
        input=f"{source}{lines}return 0; }}\n", text=True, check=True,
    )  # fmt: skip
    answers = subprocess.run([program], text=True, capture_output=True, check=True).stdout.split()
    assert dict(zip(expected, map(int, answers), strict=True)) == expected
