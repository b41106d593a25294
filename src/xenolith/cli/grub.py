"""Fetches GRUB 2 for guests: ``python -m xenolith.cli.grub``.

The images come from the distribution through apt; ``firmware="pvgrub64"`` in an xl.cfg boots them.
"""

from __future__ import annotations

import argparse
import sys

from xenolith.builder.grub_images import GrubImage, fetch_grub
from xenolith.cli.making import exit_status, report


def main(argv: list[str] | None = None) -> int:
    """Run the program with these arguments, its name left out; return the exit status."""
    argparse.ArgumentParser(
        prog="python -m xenolith.cli.grub",
        description="Fetch GRUB 2's images for guests from the distribution.",
    ).parse_args(argv)
    return exit_status(_fetch)


def _fetch() -> int:
    directory = fetch_grub(report)
    for image in GrubImage:
        print(directory / image)
    return 0


if __name__ == "__main__":
    sys.exit(main())
