"""Builds the tiny guests of guests/ with the host's C compiler, against Xen's own public headers."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

GUESTS = Path(__file__).parents[2] / "guests"
_XEN_HEADERS = Path("/usr/include/xen")
_COMPILER = shutil.which("gcc")
_FLAGS = (
    "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-pic",
    "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none",
    "-mno-red-zone", "-mgeneral-regs-only",
    "-D__XEN_INTERFACE_VERSION__=__XEN_LATEST_INTERFACE_VERSION__",
)  # fmt: skip
_LINK_FLAGS = ("-nostdlib", "-static", "-no-pie", "-Wl,-z,noexecstack,--build-id=none")


@dataclass(frozen=True)
class Family:
    """Guests that have a runtime in common."""

    directory: Path
    runtime: tuple[Path, ...]
    """Directories of what they include, the first of which holds their own runtime and linker script."""
    shared: tuple[str, ...] = ()
    """Sources from the other ones."""
    flags: tuple[str, ...] = ()

    def sources(self) -> list[Path]:
        """The sources of the runtime."""
        own, *others = self.runtime
        shared = [path / name for path in others for name in self.shared]
        return sorted([*own.glob("*.c"), *own.glob("*.S"), *shared])


_ABI_RUNTIME = GUESTS / "abi" / "runtime"
PVH = Family(GUESTS / "abi", (_ABI_RUNTIME,))
PV = Family(
    GUESTS / "pv",
    (GUESTS / "pv" / "runtime", _ABI_RUNTIME),
    ("console.c", "report.c", "string.c"),
    ("-mcmodel=kernel", '-DHYPERCALL_INSTRUCTION="syscall"'),
)

LEGACY_PV = Family(
    GUESTS / "pv" / "legacy",
    (GUESTS / "pv" / "legacy" / "runtime", _ABI_RUNTIME),
    ("console.c", "report.c", "string.c"),
    (
        "-mcmodel=small",
        '-DHYPERCALL_INSTRUCTION="shl $5, %%eax; add $hypercall_page, %%eax; call *%%rax"',
    ),
)
COMPAT = Family(GUESTS / "compat", (GUESTS / "compat" / "runtime",), flags=("-m32",))


class GuestBuilder:
    """Builds each guest once, into ``directory``; skips the test where no guest can be built.

    ``flags`` go to the compiler.
    """

    def __init__(self, directory: Path, *flags: str, family: Family = PVH) -> None:
        self._directory = directory
        self._family = family
        includes = (f"-I{path}" for path in family.runtime)
        self._flags = (*family.flags, *includes, *flags)
        self._runtime: list[Path] = []
        self._built: dict[str, Path] = {}

    def build(self, name: str) -> Path:
        """The image of the guest ``<name>.c``; ``name`` is relative to the family's directory."""
        if name not in self._built:
            if _COMPILER is None or not _XEN_HEADERS.is_dir():
                pytest.skip("building guests needs gcc and Xen's public headers (libxen-dev)")
            image = self._directory / name.replace("/", "-")
            source = self._family.directory / f"{name}.c"
            script = self._family.runtime[0] / "guest.ld"
            _compile(
                *self._flags,
                *_LINK_FLAGS,
                f"-Wl,-T,{script}",
                "-o",
                str(image),
                str(source),
                *map(str, self._objects()),
            )
            self._built[name] = image
        return self._built[name]

    def build_folder(self, folder: Path) -> Path:
        """The image of a guest that is all C files of a folder."""
        if folder.name not in self._built:
            if _COMPILER is None or not _XEN_HEADERS.is_dir():
                pytest.skip("building guests needs gcc and Xen's public headers (libxen-dev)")
            image = self._directory / folder.name
            parts = [*sorted(folder.glob("*.c")), *self._objects()]
            _compile(*self._flags, *_LINK_FLAGS, "-o", str(image), *map(str, parts))
            self._built[folder.name] = image
        return self._built[folder.name]

    def _objects(self) -> list[Path]:
        if not self._runtime:
            for source in self._family.sources():
                compiled = self._directory / f"{source.name}.o"
                _compile(*self._flags, "-c", "-o", str(compiled), str(source))
                self._runtime.append(compiled)
        return self._runtime


def _compile(*arguments: str) -> None:
    assert _COMPILER is not None
    command = [_COMPILER, *_FLAGS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
