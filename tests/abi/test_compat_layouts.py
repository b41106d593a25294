"""Every struct as a 32-bit guest has it against what gcc -m32 makes of Debian's libxen-dev."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import xenolith.abi
from xenolith.abi.compat import ARCH_SHARED_INFO_32, SHARED_INFO_32
from xenolith.abi.layout import LAYOUTS, Layout

INCLUDE = Path("/usr/include/xen")
COMPILER = shutil.which("gcc")

pytestmark = [
    pytest.mark.skipif(not INCLUDE.is_dir(), reason="Xen's public headers (libxen-dev) are absent"),
    pytest.mark.skipif(COMPILER is None, reason="no gcc"),
]

for module in pkgutil.iter_modules(xenolith.abi.__path__):
    importlib.import_module(f"xenolith.abi.{module.name}")

SPECIAL: dict[str | None, Layout[Any]] = {
    "struct arch_shared_info": ARCH_SHARED_INFO_32,
    "struct shared_info": SHARED_INFO_32,
}
"""Layouts that are written down, not derived."""

ONLY_64_BIT = {
    "struct arch_vcpu_info": "its padding is what differs",
    "struct callback_register": "an address of code has a selector with it",
    "struct cpu_user_regs": "other registers",
    "struct iret_context": "other registers",
    "struct trap_info": "an address of code is 32 bits wide",
    "struct vcpu_guest_context": "other registers",
    "struct vcpu_hvm_context": "Xen takes the 64-bit one from all guests",
    "struct vcpu_hvm_x86_32": "part of that",
    "struct vcpu_hvm_x86_64": "part of that",
}


def expectations() -> Iterator[tuple[str, str, int]]:
    """Yield (header, C expression, our value)."""
    for layout in LAYOUTS:
        assert layout.header is not None
        # A ring says itself which layout it has.
        if layout.c_type in ONLY_64_BIT or layout.header.startswith("io/"):
            continue
        compat = SPECIAL.get(layout.c_type) or layout.compat
        yield layout.header, f"sizeof({layout.c_type})", compat.size
        for field, offset in compat.offsets.items():
            if not field.startswith(("pad", "_")):
                designator = layout.c_names.get(field, field)
                yield layout.header, f"offsetof({layout.c_type}, {designator})", offset


def compiled(expressions: list[str], headers: list[str]) -> list[int]:
    """The values of C expressions, as the assembly code of a table of them shows it."""
    assert COMPILER is not None
    source = "#include <stddef.h>\n#include <stdint.h>\n"
    source += "".join(f"#include <xen/{header}>\n" for header in headers)
    source += "const unsigned table[] = {" + ",\n".join(expressions) + "};\n"
    command = [COMPILER, "-m32", "-ffreestanding", "-w", "-S", "-x", "c", "-", "-o", "-"]
    done = subprocess.run(
        [*command, "-D__XEN_TOOLS__"], input=source, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    values: list[int] = []
    for kind, text in re.findall(r"^\s*\.(long|zero)\s+(\d+)", done.stdout, re.MULTILINE):
        values += [int(text)] if kind == "long" else [0] * (int(text) // 4)
    return values


def test_sizes_and_offsets_are_those_of_a_32_bit_compiler() -> None:
    expected = list(dict.fromkeys(expectations()))
    assert len(expected) > 300
    headers = sorted({header for header, _, _ in expected})
    answers = compiled([expression for _, expression, _ in expected], headers)
    assert len(answers) == len(expected)
    wrong = [
        f"{header}: {expression} is {answer:#x}, ours is {value:#x}"
        for (header, expression, value), answer in zip(expected, answers, strict=True)
        if value != answer
    ]
    assert not wrong, "\n".join(wrong)
