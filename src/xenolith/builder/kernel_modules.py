"""Linux kernel modules: what a module says of itself, and what must be loaded before it.

Distributions build the dependency lists only when a kernel is installed, so they are read from
the modules' own .modinfo sections, as depmod(8) does.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xenolith.builder.decompress import decompress
from xenolith.builder.elf import is_elf, read_section
from xenolith.builder.errors import BuildError
from xenolith.builder.image_file import ImageFile

_MODULE_SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")


@dataclass(frozen=True, slots=True)
class KernelModule:
    """One module, unpacked; ``path`` is relative to lib/modules/RELEASE and ends in ``.ko``."""

    name: str
    path: str
    data: bytes
    depends: tuple[str, ...]
    aliases: tuple[str, ...]


class ModuleTree:
    """The modules of one kernel below its lib/modules/RELEASE directory.

    Names are written with underscores, as modinfo does, whatever the file's name has.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = {
            module_name(path.name): path
            for path in sorted((directory / "kernel").rglob("*"))
            if path.name.endswith(_MODULE_SUFFIXES)
        }
        builtin = (directory / "modules.builtin").read_text().split()
        self._builtin = {module_name(os.path.basename(path)) for path in builtin}

    @property
    def release(self) -> str:
        """The kernel's release, as ``uname -r`` shows it."""
        return self._directory.name

    def has(self, name: str) -> bool:
        """Whether there is such a module, be it built into the kernel."""
        return name in self._files or name in self._builtin

    def closure(self, names: Iterable[str]) -> list[KernelModule]:
        """The named modules and all that they need, each after those that it needs itself.

        Modules that are built into the kernel are left out; BuildError for an unknown one.
        """
        ordered: dict[str, KernelModule] = {}

        def visit(name: str) -> None:
            if name in ordered or name in self._builtin:
                return
            if name not in self._files:
                raise BuildError(f"the kernel {self.release} has no module {name}")
            module = self._read(name)
            for dependency in module.depends:
                visit(dependency)
            ordered[name] = module

        for name in names:
            visit(name)
        return list(ordered.values())

    def _read(self, name: str) -> KernelModule:
        file = self._files[name]
        with file.open("rb") as packed, _unpacked(ImageFile(packed.fileno(), str(file))) as image:
            data = image.read(0, image.size)
            info = _modinfo(image)
        path = str(file.relative_to(self._directory))
        return KernelModule(
            name,
            path[: path.rindex(".ko")] + ".ko",
            data,
            tuple(module_name(each) for each in info.get("depends", [""])[0].split(",") if each),
            tuple(info.get("alias", ())),
        )


@contextmanager
def _unpacked(image: ImageFile) -> Iterator[ImageFile]:
    """The module itself where distributions compress each of them."""
    if is_elf(image):
        yield image
        return
    with tempfile.TemporaryFile() as file:
        for piece in decompress(image, 0, image.size):
            file.write(piece)
        file.flush()
        yield ImageFile(file.fileno(), image.name)


def module_name(file_name: str) -> str:
    """The name of the module in a file such as ``xen-blkfront.ko.xz``."""
    return file_name.partition(".ko")[0].replace("-", "_")


def _modinfo(image: ImageFile) -> dict[str, list[str]]:
    """The values of a module's .modinfo section by key."""
    values: dict[str, list[str]] = {}
    for field in read_section(image, b".modinfo").split(b"\0"):
        key, separator, value = field.decode("utf-8", "replace").partition("=")
        if separator:
            values.setdefault(key, []).append(value)
    return values
