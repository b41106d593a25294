"""Guests made from the distribution's own packages: a kernel, and a ramdisk to go with it.

They live in the user's cache directory: the parts of packages by version, ramdisks by content, and
for each flavour of guest a directory of links to the current ones.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xenolith.builder import apt
from xenolith.builder.cache_directory import cache_directory
from xenolith.builder.errors import BuildError
from xenolith.builder.initramfs import (
    GUEST_MODULES,
    PEER_MODULES,
    build_initramfs,
    guest_modules,
    peer_modules,
)
from xenolith.builder.kernel_modules import ModuleTree
from xenolith.builder.kernel_package import keep_kernel, only_file
from xenolith.builder.symlink import replace_symlink

FLAVOURS = {"cloud": "linux-image-cloud-amd64", "generic": "linux-image-amd64"}
"""Flavours of guests, and the package that stands for the newest kernel of each."""

_BUSYBOX = "busybox-static"
_FETCH_PREFIX = "fetching-"

Report = Callable[[str], None]
Keep = Callable[[Path, Path], None]
"""Copies what is needed of a package's files (first path) to where it is kept (second path)."""


@dataclass(frozen=True, slots=True)
class Guest:
    """The files of one flavour; the paths stay the same when newer versions come."""

    flavour: str
    kernel: Path
    ramdisk: Path


class Assets:
    """The guests below one directory, ``guest`` in the user's cache unless told otherwise.

    ``init`` is the directory of the guest's init scripts, and ``report`` is told what takes a while.
    One process at a time works on the directory, others wait for it. What is made appears at once
    and complete, however the work ends. Methods raise BuildError.
    """

    def __init__(self, init: Path, report: Report, directory: Path | None = None) -> None:
        if not (init / "init").is_file():
            raise BuildError(f"there is no guest init in {init}")
        self._init = init
        self._report = report
        self.directory = directory or cache_directory() / "guest"

    def ensure(self, flavour: str) -> Guest:
        """Return a guest, fetching its packages only if it has never been made."""
        with self._locked():
            try:
                return self._with_ramdisk(flavour)
            except (FileNotFoundError, BuildError):
                return self._fetched(flavour)

    def update(self, flavour: str) -> Guest:
        """Return a guest of the newest kernel that apt knows."""
        with self._locked():
            return self._fetched(flavour)

    def _fetched(self, flavour: str) -> Guest:
        kernel = self._keep(apt.find_kernel(FLAVOURS[flavour]), _keep_kernel)
        busybox = self._keep(apt.find_package(_BUSYBOX), _keep_busybox)
        links = self.directory / flavour
        links.mkdir(exist_ok=True)
        for target in (kernel / "vmlinuz", kernel / "modules", busybox / "busybox"):
            replace_symlink(links / target.name, os.path.relpath(target, links))
        guest = self._with_ramdisk(flavour)
        self._prune()
        return guest

    def _with_ramdisk(self, flavour: str) -> Guest:
        """Make the ramdisk of a guest whose packages are there, unless it is the current one."""
        links = self.directory / flavour
        kernel, ramdisk = links / "vmlinuz", links / "initramfs"
        kernel.stat()
        (modules,) = (links / "modules").iterdir()
        archive = io.BytesIO()
        build_initramfs(links / "busybox", self._init, ModuleTree(modules), archive)
        name = hashlib.sha256(archive.getbuffer()).hexdigest()[:16]
        target = self.directory / "ramdisks" / f"{name}.cpio"
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            temporary = target.with_suffix(".new")
            temporary.write_bytes(archive.getbuffer())
            temporary.replace(target)
        replace_symlink(ramdisk, os.path.relpath(target, links))
        return Guest(flavour, kernel, ramdisk)

    def _keep(self, package: apt.Package, keep: Keep) -> Path:
        """Return the directory of what is kept of a package, fetching it if it is not there."""
        # What is kept depends on the list of modules as well.
        wanted = hashlib.sha256(" ".join((*GUEST_MODULES, *PEER_MODULES)).encode()).hexdigest()[:8]
        kept = self.directory / "packages" / f"{package.name}_{package.version}_{wanted}"
        if kept.is_dir():
            return kept
        self._report(f"Fetching {package.name} {package.version}")
        kept.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_FETCH_PREFIX, dir=self.directory) as directory:
            apt.fetch(package, Path(directory))
            parts = Path(directory, "parts")
            parts.mkdir()
            keep(Path(directory, "root"), parts)
            parts.rename(kept)
        return kept

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BuildError(f"{self.directory} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _prune(self) -> None:
        """Remove what no flavour links to, and what a killed process left behind."""
        used = {
            link.resolve()
            for flavour in FLAVOURS
            for link in (self.directory / flavour).glob("*")
            if link.is_symlink()
        }
        for package in (self.directory / "packages").iterdir():
            if not any(path.is_relative_to(package.resolve()) for path in used):
                shutil.rmtree(package)
        for ramdisk in (self.directory / "ramdisks").iterdir():
            if ramdisk.resolve() not in used:
                ramdisk.unlink()
        for directory in self.directory.glob(f"{_FETCH_PREFIX}*"):
            shutil.rmtree(directory)


def _keep_kernel(root: Path, kept: Path) -> None:
    """Keep the kernel, and the modules that the ramdisk or a benchmark may need."""
    keep_kernel(root, kept, lambda tree: [*guest_modules(tree), *peer_modules(tree)])


def _keep_busybox(root: Path, kept: Path) -> None:
    shutil.copyfile(only_file(root, "bin/busybox", "usr/bin/busybox"), kept / "busybox")
