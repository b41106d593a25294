"""A whole Debian as the disk of a domain, made from the distribution's packages and kept in the cache.

mmdebstrap(1) makes the root file system, mke2fs(8) an ext4 of it, without mounting anything: an
ordinary user does it in a user namespace. Kernel and ramdisk are laid beside the disk.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xenolith.builder import debian_recipe
from xenolith.builder.cache_directory import cache_directory
from xenolith.builder.errors import BuildError
from xenolith.storage.convert import Target, convert

Report = Callable[[str], None]

DEFAULT_SIZE = 8 << 30
"""Bytes of the disk; what is not used takes no space."""

_PROGRAMS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "tar": "tar"}
_PROGRAMS_OF_USERS = {"unshare": "util-linux", "newuidmap": "uidmap"}
_UNFINISHED = "making-"
_STDERR = 2
_OS_RELEASE = Path("/etc/os-release")
_NAMESPACE = ["unshare", "--map-root-user", "--map-auto", "--"]
"""Enters a namespace in which this user is root and has all other users as well."""
_PATH = {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
"""mke2fs is where ordinary users do not look."""


@dataclass(frozen=True, slots=True)
class DebianImage:
    """The files of one release, made by one recipe; they are to be read only."""

    directory: Path

    @property
    def kernel(self) -> Path:
        """Debian's kernel."""
        return self.directory / "vmlinuz"

    @property
    def ramdisk(self) -> Path:
        """The ramdisk that finds the root file system by its label."""
        return self.directory / "initramfs"

    @property
    def disk(self) -> Path:
        """A dynamic VHD that holds the root file system, without partitions."""
        return self.directory / "disk.vhd"


def running_release(os_release: Path = _OS_RELEASE) -> str:
    """The release that this machine runs; Debian's stable one where it runs something else."""
    try:
        lines = os_release.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "stable"
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    if values.get("ID", "").strip('"') != "debian":
        return "stable"
    return values.get("VERSION_CODENAME", "stable").strip('"')


class DebianImages:
    """The Debians below one directory, ``debian`` in the user's cache unless told otherwise.

    ``report`` is told what takes a while. One process at a time works on the directory; what is
    made appears at once and complete, however the work ends. Nothing is removed: disks that were
    made from one may need it.
    """

    def __init__(self, report: Report, directory: Path | None = None) -> None:
        self._report = report
        self.directory = directory or cache_directory() / "debian"

    def ensure(self, suite: str, size: int = DEFAULT_SIZE) -> DebianImage:
        """Return the image of a release, making it if it is not there; BuildError."""
        if not re.fullmatch(r"[a-z][a-z0-9-]*", suite):
            raise BuildError(f"'{suite}' is not the name of a release of Debian")
        name = f"{suite}-{debian_recipe.identity()}-{size >> 20}M"
        image = DebianImage(self.directory / name)
        with self._locked():
            if not image.directory.is_dir():
                self._clean()
                self._make(suite, size, image.directory)
        return image

    def _make(self, suite: str, size: int, directory: Path) -> None:
        _check_programs()
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=self.directory) as name:
            work = Path(name)
            # It is entered by another user where apt drops its rights.
            work.chmod(0o755)
            archive, made = work / "root.tar", work / "made"
            made.mkdir()
            self._report(f"Making Debian {suite} with mmdebstrap: this takes a minute or two")
            _make_archive(suite, work / "overlay.tar", archive)
            self._report("Making its file system")
            raw = work / "disk.raw"
            _make_file_system(archive, size, raw, work / "root")
            _extract_boot_files(archive, made)
            self._report("Converting it to a VHD")
            convert(raw, "raw", made / "disk.vhd", Target.DYNAMIC)
            made.rename(directory)

    def _clean(self) -> None:
        """Remove what a killed process left behind."""
        for directory in self.directory.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(directory, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BuildError(f"{self.directory} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def apt_sources(suite: str) -> list[str]:
    """The lines of a sources.list by which this machine's apt reaches a release; may be none."""
    command = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return []
    wanted = {suite, f"{suite}-updates", f"{suite}-security"}
    found: dict[str, str] = {}
    for line in run.stdout.splitlines():
        # The address of a CD-ROM has spaces, and mmdebstrap has no CD-ROM.
        uri, release, component = line.rsplit(" ", 2)
        if release in wanted and component == "main" and not uri.startswith("cdrom:"):
            found.setdefault(release, f"deb {uri} {release} main")
    # Without the release itself, updates of it lead nowhere.
    return [found[release] for release in sorted(found)] if suite in found else []


def _check_programs() -> None:
    programs = dict(_PROGRAMS)
    if os.geteuid() != 0:
        programs |= _PROGRAMS_OF_USERS
    missing = [package for program, package in programs.items() if _find(program) is None]
    if missing:
        raise BuildError(
            f"programs are missing; install them with: apt-get install {' '.join(missing)}"
        )
    if os.geteuid() != 0 and not _has_namespaces():
        raise BuildError(
            "Linux refuses user namespaces here, or /etc/subuid has no range for this user:"
            " see user_namespaces(7) and subuid(5), or make the image as root"
        )


def _in_namespace(command: list[str]) -> list[str]:
    return command if os.geteuid() == 0 else [*_NAMESPACE, *command]


def _make_archive(suite: str, overlay: Path, archive: Path) -> None:
    overlay.write_bytes(debian_recipe.overlay())
    mode = "root" if os.geteuid() == 0 else "unshare"
    sources = apt_sources(suite)
    command = debian_recipe.mmdebstrap(mode, suite, str(archive), str(overlay), sources)
    if _run(command) != 0:
        raise BuildError(
            f"mmdebstrap could not make Debian {suite} (its messages are above): is there such a"
            " release, and can this machine's apt reach a mirror of it?"
        )


_MAKE_FILE_SYSTEM = """\
trap 'rm -rf "$1"' EXIT
mkdir "$1" &&
tar -C "$1" --numeric-owner --xattrs --xattrs-include='*' -xf "$2" &&
mkdir -p "$1/dev" &&
mke2fs -q -F -t ext4 -L "$3" -d "$1" "$4"
"""
"""Unpacks an archive ($2) into a directory ($1) and makes a file system labelled $3 of that in $4."""


def _make_file_system(archive: Path, size: int, raw: Path, root: Path) -> None:
    """Make an ext4 of an archive; what is unpacked for that belongs to users of the namespace."""
    with raw.open("wb") as file:
        file.truncate(size)
    arguments = [str(root), str(archive), debian_recipe.LABEL, str(raw)]
    if _run(_in_namespace(["sh", "-c", _MAKE_FILE_SYSTEM, "sh", *arguments])) != 0:
        raise BuildError("its file system cannot be made (the reason is above)")


def _extract_boot_files(archive: Path, directory: Path) -> None:
    """Lay kernel and ramdisk beside the disk."""
    wanted = {r"\./boot/vmlinuz-.+": "vmlinuz", r"\./boot/initrd\.img-.+": "initramfs"}
    with tarfile.open(archive) as tar:
        for member in tar:
            for pattern, name in wanted.items():
                if member.isfile() and re.fullmatch(pattern, member.name):
                    content = tar.extractfile(member)
                    assert content is not None
                    with (directory / name).open("wb") as file:
                        shutil.copyfileobj(content, file)
    for name in wanted.values():
        if not (directory / name).exists():
            raise BuildError(f"the packages of this release hold no {name}")


def _find(program: str) -> str | None:
    return shutil.which(program, path=_PATH["PATH"])


def _has_namespaces() -> bool:
    """Whether Linux lets this user have the namespace that it takes."""
    run = subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False)
    return run.returncode == 0


def _run(command: list[str]) -> int:
    """Run a command whose messages are for the user; return its exit status."""
    sys.stderr.flush()
    run = subprocess.run(
        command,
        env={**os.environ, **_PATH},
        stdin=subprocess.DEVNULL,
        stdout=_STDERR,
        check=False,
    )
    return run.returncode
