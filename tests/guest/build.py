"""Builds the tiny guests of guests/abi with the host's C compiler, against Xen's own public headers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "guests" / "abi"
_XEN_HEADERS = Path("/usr/include/xen")
_COMPILER = shutil.which("gcc")
_FLAGS = (
    "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-pic",
    "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none",
    "-mno-red-zone", "-mgeneral-regs-only", f"-I{SOURCES / 'runtime'}",
    "-D__XEN_INTERFACE_VERSION__=__XEN_LATEST_INTERFACE_VERSION__",
)  # fmt: skip
_LINK_FLAGS = ("-nostdlib", "-static", "-no-pie", f"-Wl,-T,{SOURCES / 'runtime' / 'guest.ld'}",
               "-Wl,-z,noexecstack,--build-id=none")  # fmt: skip


class GuestBuilder:
    """Builds each guest once, into ``directory``; skips the test where no guest can be built.

    ``flags`` go to the compiler.
    """

    def __init__(self, directory: Path, *flags: str) -> None:
        self._directory = directory
        self._flags = flags
        self._runtime: list[Path] = []
        self._built: dict[str, Path] = {}

    def build(self, name: str) -> Path:
        """The image of the guest ``<name>.c``; ``name`` is relative to guests/abi."""
        if name not in self._built:
            if _COMPILER is None or not _XEN_HEADERS.is_dir():
                pytest.skip("building guests needs gcc and Xen's public headers (libxen-dev)")
            image = self._directory / name.replace("/", "-")
            source = SOURCES / f"{name}.c"
            _compile(
                *self._flags,
                *_LINK_FLAGS,
                "-o",
                str(image),
                str(source),
                *map(str, self._objects()),
            )
            self._built[name] = image
        return self._built[name]

    def _objects(self) -> list[Path]:
        if not self._runtime:
            runtime = SOURCES / "runtime"
            for source in sorted([*runtime.glob("*.c"), *runtime.glob("*.S")]):
                compiled = self._directory / f"{source.name}.o"
                _compile(*self._flags, "-c", "-o", str(compiled), str(source))
                self._runtime.append(compiled)
        return self._runtime


def _compile(*arguments: str) -> None:
    assert _COMPILER is not None
    command = [_COMPILER, *_FLAGS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
