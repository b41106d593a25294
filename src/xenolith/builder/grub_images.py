"""GRUB 2 as the kernel of a guest: the images of Debian's package grub-xen-host.

They are taken from the user's cache, where :func:`fetch_grub` puts them, or from where the package installs them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from xenolith.builder import apt
from xenolith.builder.cache_directory import cache_directory
from xenolith.builder.errors import BuildError
from xenolith.builder.symlink import replace_symlink

PACKAGE = "grub-xen-host"
_INSTALLED = Path("usr/lib/grub-xen")
"""Where the package has its images, below the root directory."""

_UNFINISHED = "fetching-"


class GrubImage(StrEnum):
    """The images, by the names of their files."""

    PV = "grub-x86_64-xen.bin"
    PVH = "grub-i386-xen_pvh.bin"


def grub_directory() -> Path:
    """Where fetched images are kept; it need not exist."""
    return cache_directory() / "grub"


def find_grub(image: GrubImage, root: Path = Path("/")) -> Path | None:
    """The file of an image: a fetched one, else the one that is installed below ``root``; None without either."""
    for directory in (grub_directory(), root / _INSTALLED):
        if (directory / image).is_file():
            return directory / image
    return None


def fetch_grub(report: Callable[[str], None]) -> Path:
    """Fetch the newest images that apt knows, unless they are there; return their directory. BuildError.

    What is fetched appears at once and complete, however the work ends.
    """
    package = apt.find_package(PACKAGE)
    directory = grub_directory()
    kept = directory / package.version
    try:
        if not kept.is_dir():
            report(f"Fetching {package.name} {package.version}")
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=directory) as name:
                _fetch(package, Path(name), kept)
        for image in GrubImage:
            replace_symlink(directory / image, os.path.join(package.version, image))
    except OSError as error:
        raise BuildError(f"{directory} cannot be written: {error.strerror}") from error
    return directory


def _fetch(package: apt.Package, work: Path, kept: Path) -> None:
    apt.fetch(package, work)
    parts = work / "parts"
    parts.mkdir()
    for image in GrubImage:
        source = work / "root" / _INSTALLED / image
        if not source.is_file():
            raise BuildError(f"the package {package.name} {package.version} has no {image}")
        shutil.copyfile(source, parts / image)
    parts.rename(kept)
