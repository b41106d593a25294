"""Every layout and constant of ours against the compiler's view of Debian's libxen-dev."""

from __future__ import annotations

import importlib
import pkgutil
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import xenolith.abi
from xenolith.abi.constants import C_PREFIXES, c_name
from xenolith.abi.layout import LAYOUTS

INCLUDE = Path("/usr/include/xen")
COMPILER = shutil.which("gcc") or shutil.which("cc")

MODULES = [
    importlib.import_module(f"xenolith.abi.{module.name}")
    for module in pkgutil.iter_modules(xenolith.abi.__path__)
]

pytestmark = [
    pytest.mark.skipif(not INCLUDE.is_dir(), reason="Xen's public headers (libxen-dev) are absent"),
    pytest.mark.skipif(COMPILER is None, reason="no C compiler"),
]


def expectations() -> Iterator[tuple[str, str, int]]:
    """Yield (header, C expression, our value) for everything declared in abi/."""
    for layout in LAYOUTS:
        assert layout.header is not None, layout.c_type
        yield layout.header, f"sizeof({layout.c_type})", layout.size
        for field, offset in layout.offsets.items():
            if not field.startswith(("pad", "_")):
                designator = layout.c_names.get(field, field)
                yield layout.header, f"offsetof({layout.c_type}, {designator})", offset
    headers = {module.__name__: vars(module).get("HEADER") for module in MODULES}
    for enum in C_PREFIXES:
        header = headers[enum.__module__]
        assert header is not None, enum
        for member in enum:
            yield header, c_name(member), member.value
    for module in MODULES:
        header = headers[module.__name__]
        for name, value in vars(module).items():
            if header is not None and isinstance(value, int) and not name.startswith("_"):
                yield header, name, value


def compile_and_run(source: str, directory: Path) -> str:
    assert COMPILER is not None
    program = directory / "program"
    command = [COMPILER, "-w", "-x", "c", "-", "-o", str(program), "-D__XEN_TOOLS__"]
    built = subprocess.run(command, input=source, text=True, capture_output=True, check=False)
    assert built.returncode == 0, built.stderr
    return subprocess.run([program], text=True, capture_output=True, check=True).stdout


def test_sizes_offsets_and_values_are_those_of_the_headers(tmp_path: Path) -> None:
    expected = list(dict.fromkeys(expectations()))
    headers = sorted({header for header, _, _ in expected})
    source = "#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n"
    source += "".join(f"#include <xen/{header}>\n" for header in headers)
    source += "int main(void) {\n"
    source += "".join(
        f'printf("%llu\\n", (unsigned long long)({expression}));\n' for _, expression, _ in expected
    )
    source += "return 0; }\n"
    answers = [int(line) for line in compile_and_run(source, tmp_path).split()]
    assert len(answers) == len(expected)
    wrong = [
        f"{header}: {expression} is {answer:#x}, ours is {value:#x}"
        for (header, expression, value), answer in zip(expected, answers, strict=True)
        if value % 2**64 != answer
    ]
    assert not wrong, "\n".join(wrong)


def test_something_of_every_header_is_compared() -> None:
    compared = {header for header, _, _ in expectations()}
    assert {module.HEADER for module in MODULES if hasattr(module, "HEADER")} <= compared
