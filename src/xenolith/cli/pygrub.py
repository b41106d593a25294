"""The program `pygrub`: shows what a disk's boot loader would boot, as bootloader="pygrub" finds it.

It jails itself once the image is open, as the process does that works for domains.
"""

from __future__ import annotations

import os
import sys

from xenolith.bootloader.boot import boot, listing
from xenolith.bootloader.errors import BootError
from xenolith.bootloader.limits import set_limits
from xenolith.bootloader.options import Options, parse_options
from xenolith.machine import jail
from xenolith.storage.errors import ImageError
from xenolith.storage.image import Image
from xenolith.storage.open import Format, image_from, locate

USAGE = """\
Usage: pygrub [OPTIONS] IMAGE

Show what the boot loader of a disk image boots.
-l, --list-entries   List the entries of its menu; * marks the default.
--entry=ENTRY        Take the entry with this number, title or id; 1>2 is one in a submenu.
--kernel=PATH        Take this kernel of the disk, whatever its boot loader is configured to.
--ramdisk=PATH       Take this ramdisk of the disk.
--args=TEXT          Append this to the command line.
--partition=NUMBER   Look at this partition only.
--offset=BYTES       Look for a file system there only.
--format=FORMAT      The image is raw (the default) or vhd.
"""

_FORMAT = "--format="
_FAILED, _BAD_USAGE = 1, 2


def main(argv: list[str] | None = None) -> int:
    """Run `pygrub` with these arguments or those of the process; return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(arguments):
        print(USAGE, end="")
        return 0
    formats = [word.removeprefix(_FORMAT) for word in arguments if word.startswith(_FORMAT)]
    try:
        options, images = parse_options(
            [word for word in arguments if not word.startswith(_FORMAT)]
        )
    except BootError as error:
        print(f"Error: {error}", file=sys.stderr)
        return _BAD_USAGE
    if len(images) != 1:
        print("Error: pygrub: one image is needed, see 'pygrub --help'", file=sys.stderr)
        return _BAD_USAGE
    try:
        located = locate(images[0], formats[-1] if formats else Format.RAW, writable=False)
        set_limits()
        jail.enter()
        _show(image_from(located.files, located.format, writable=False), options)
    except (BootError, ImageError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return _FAILED
    return 0


def _show(image: Image, options: Options) -> None:
    if options.list_entries:
        for line in listing(image, options):
            print(line)
        return
    found = boot(image, options, None, _ignore, _ignore)
    print(f"kernel: {found.kernel}")
    for ramdisk in found.ramdisks:
        print(f"ramdisk: {ramdisk}")
    print(f"args: {found.command_line}")


def _ignore(_data: bytes) -> None:
    """Files are read, so that what cannot be read is not shown as if it could."""


def program() -> None:
    """Be the program."""
    status = main()
    sys.stdout.flush()
    # Jailed, the interpreter could not tidy up in peace.
    os._exit(status)


if __name__ == "__main__":
    program()
