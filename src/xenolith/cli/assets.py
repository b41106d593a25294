"""Makes guests to try: ``python -m xenolith.cli.assets [FLAVOUR...]``.

Fetches a kernel and busybox from the distribution through apt, builds a ramdisk, and prints where
they are as lines for an xl.cfg.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from xenolith.builder import assets
from xenolith.builder.assets import FLAVOURS, Assets, Guest
from xenolith.builder.errors import BuildError
from xenolith.builder.symlink import replace_symlink
from xenolith.cli.making import exit_status, report

INIT = Path(assets.__file__).with_name("guest_init")
"""The scripts of the guests' small user space."""


def main(argv: list[str] | None = None) -> int:
    """Run the program with these arguments, its name left out; return the exit status."""
    options = _parser().parse_args(argv)
    return exit_status(lambda: _make(options))


def _make(options: argparse.Namespace) -> int:
    made = Assets(INIT, report)
    make = made.update if options.update else made.ensure
    for flavour in _flavours(options.flavour):
        guest = make(flavour)
        if options.link_into is not None:
            _link(guest, options.link_into)
        print(f"# {flavour}: {guest.kernel.resolve().parent.name}")
        print(f'kernel = "{guest.kernel}"')
        print(f'ramdisk = "{guest.ramdisk}"', flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xenolith.cli.assets",
        description="Make Linux guests from the distribution's own packages.",
    )
    parser.add_argument(
        "flavour",
        nargs="*",
        choices=[*FLAVOURS, "all"],
        default="all",
        help="which kernels to fetch (default: all)",
    )
    parser.add_argument(
        "--link-into",
        type=Path,
        metavar="DIR",
        help="make DIR/FLAVOUR links to the guests, for configurations beside DIR",
    )
    parser.add_argument(
        "--update", action="store_true", help="fetch the newest kernel that apt knows"
    )
    return parser


def _flavours(chosen: list[str] | str) -> list[str]:
    """The flavours to make; argparse hands its default over as it is, the rest as a list."""
    return [flavour for flavour in FLAVOURS if flavour in chosen or "all" in chosen]


def _link(guest: Guest, directory: Path) -> None:
    link = directory / guest.flavour
    # In this order: the guest of whoever had this checkout before may be in nobody else's reach.
    if not link.is_symlink() and link.exists():
        raise BuildError(f"{link} is in the way: it is no symbolic link")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        replace_symlink(link, guest.kernel.parent)
    except OSError as error:
        raise BuildError(f"{link} cannot be made: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
