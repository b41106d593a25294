"""Makes a whole Debian for a domain: ``python -m xenolith.cli.debian [--link-into DIR]``.

The image is made once and kept in the user's cache; DIR gets links to its kernel and ramdisk, and a
disk of its own, a snapshot of the image, to write to.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from xenolith.builder.debian_image import DEFAULT_SIZE, DebianImage, DebianImages, running_release
from xenolith.builder.errors import BuildError
from xenolith.builder.symlink import replace_symlink
from xenolith.storage.errors import ImageError
from xenolith.storage.open import Format
from xenolith.storage.snapshot import snapshot

INTERRUPTED = 130

_GIB = 1 << 30


def main(argv: list[str] | None = None) -> int:
    """Run the program with these arguments, its name left out; return the exit status."""
    options = _parser().parse_args(argv)
    try:
        image = DebianImages(_report).ensure(options.suite, options.size * _GIB)
        print(f'kernel = "{image.kernel}"')
        print(f'ramdisk = "{image.ramdisk}"')
        if options.link_into is None:
            print(f"# vhd snapshot {image.disk} DISK")
        else:
            disk = _furnish(options.link_into, image, fresh=options.fresh)
            print(f'disk = ["format=vhd, vdev=xvda, access=rw, target={disk}"]')
    except (BuildError, ImageError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
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
        help="make DIR/vmlinuz, DIR/initramfs and DIR/disk.vhd for configurations beside it",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="make DIR/disk.vhd anew, as the image was made"
    )
    return parser


def _furnish(directory: Path, image: DebianImage, *, fresh: bool) -> Path:
    """Lay out what a configuration names; a disk that is there is kept unless it is to be fresh."""
    disk = directory / "disk.vhd"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for target in (image.kernel, image.ramdisk):
            replace_symlink(directory / target.name, target)
        if fresh:
            disk.unlink(missing_ok=True)
    except OSError as error:
        raise BuildError(f"{directory} cannot be written: {error.strerror}") from error
    if not disk.exists():
        snapshot(image.disk, Format.VHD, disk)
    return disk


def _report(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
