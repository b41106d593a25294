"""Makes a whole Debian for a domain: ``python -m xenolith.cli.debian [--link-into DIR]``.

The image is made once and kept in the user's cache. DIR gets what examples/debian-full.cfg names:
links to kernel and ramdisk, a disk of its own, which is a snapshot of the image, and user data.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from xenolith.builder import debian_user
from xenolith.builder.debian_image import DEFAULT_SIZE, DebianImage, DebianImages, running_release
from xenolith.builder.errors import BuildError
from xenolith.builder.symlink import replace_symlink
from xenolith.cli.making import exit_status, report
from xenolith.storage.open import Format
from xenolith.storage.snapshot import snapshot

_GIB = 1 << 30


def main(argv: list[str] | None = None) -> int:
    """Run the program with these arguments, its name left out; return the exit status."""
    options = _parser().parse_args(argv)
    return exit_status(lambda: _make(options))


def _make(options: argparse.Namespace) -> int:
    image = DebianImages(report).ensure(options.suite, options.size * _GIB)
    if options.link_into is None:
        print(f'kernel = "{image.kernel}"')
        print(f'ramdisk = "{image.ramdisk}"')
        print(f"# vhd snapshot {image.disk} DISK")
    else:
        _furnish(options.link_into, image, fresh=options.fresh)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xenolith.cli.debian",
        description="Make a whole Debian as the disk of a domain.",
    )
    parser.add_argument(
        "--suite", default=running_release(), help="the release (default: %(default)s)"
    )
    parser.add_argument(
        "--size",
        type=int,
        choices=range(2, 2041),
        default=DEFAULT_SIZE // _GIB,
        metavar="GIB",
        help="the size of its disk in GiB, (default: %(default)s)",
    )
    parser.add_argument(
        "--link-into",
        type=Path,
        metavar="DIR",
        help="make vmlinuz, initramfs, disk.vhd and user-data.yaml there, for configurations",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="make DIR/disk.vhd anew, as the image was made"
    )
    return parser


def _furnish(directory: Path, image: DebianImage, *, fresh: bool) -> None:
    """Lay out what a configuration names; disk and user data that are there are kept."""
    disk, user_data = directory / "disk.vhd", directory / "user-data.yaml"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for target in (image.kernel, image.ramdisk):
            replace_symlink(directory / target.name, target)
        if fresh:
            disk.unlink(missing_ok=True)
        if not user_data.exists():
            _write_user_data(user_data)
    except OSError as error:
        raise BuildError(f"{directory} cannot be written: {error.strerror}") from error
    if not disk.exists():
        snapshot(image.disk, Format.VHD, disk)
    print(f"{disk} is ready; its user and password are in {user_data}.")


def _write_user_data(path: Path) -> None:
    """Let the user in by his ssh key, or by one that is made for this."""
    keys = debian_user.public_keys(Path.home())
    if not keys:
        key = path.parent / "id_ed25519"
        keys = [debian_user.new_key(key)]
        report(f"There is no ssh key in ~/.ssh: ssh -i {key} gets into the guest")
    data = debian_user.user_data("debian", keys, debian_user.new_password())
    path.touch(mode=0o600)
    path.write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
