"""What is kept of a distribution's kernel package: the kernel itself, and those of its modules that are wanted.

Guests are made from it, and the machines in which tests and benchmarks run.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xenolith.builder import apt
from xenolith.builder.errors import BuildError
from xenolith.builder.kernel_modules import KernelModule, ModuleTree


@dataclass(frozen=True, slots=True)
class KernelFiles:
    """The kernel, packed as distributions have it, and its modules."""

    kernel: Path
    modules: ModuleTree


def fetch_kernel(metapackage: str, modules: Sequence[str], directory: Path) -> KernelFiles:
    """The newest kernel that apt knows below a name such as linux-image-amd64, and some modules; BuildError.

    They are kept in ``directory``, so that they are fetched once.
    """
    package = apt.find_kernel(metapackage)
    wanted = hashlib.sha256(" ".join(modules).encode()).hexdigest()[:8]
    kept = directory / f"{package.name}_{package.version}_{wanted}"
    if not kept.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as unpacked:
            apt.fetch(package, Path(unpacked))
            parts = Path(unpacked, "parts")
            parts.mkdir()
            keep_kernel(Path(unpacked, "root"), parts, lambda tree: tree.closure(modules))
            parts.rename(kept)
    return KernelFiles(kept / "vmlinuz", ModuleTree(only_file(kept, "modules/*")))


def keep_kernel(
    root: Path, kept: Path, choose: Callable[[ModuleTree], Iterable[KernelModule]]
) -> None:
    """Copy the kernel and modules from a package's files at ``root`` to vmlinuz and modules/ in ``kept``."""
    kernel = only_file(root, "boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz")
    shutil.copyfile(kernel, kept / "vmlinuz")
    modules = only_file(root, "lib/modules/*", "usr/lib/modules/*")
    ours = kept / "modules" / modules.name
    ours.mkdir(parents=True)
    shutil.copyfile(modules / "modules.builtin", ours / "modules.builtin")
    for module in choose(ModuleTree(modules)):
        file = ours / module.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(module.data)


def only_file(root: Path, *patterns: str) -> Path:
    """The only file that matches; packages of different releases have it in different places."""
    found = [path for pattern in patterns for path in root.glob(pattern)]
    if len(found) != 1:
        raise BuildError(f"the package holds {len(found)} files {' or '.join(patterns)}, not one")
    return found[0]
