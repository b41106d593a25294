"""Runs one command of sh(1) in a machine with /dev/kvm: ``PYTHONPATH=src:tests python -m nested COMMAND``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from xenolith.builder.errors import BuildError

from . import checkout
from .machine import MachineError
from .outer_kernel import fetch


def main() -> int:
    """Run the program; the exit status is the command's."""
    parser = argparse.ArgumentParser(prog="python -m nested", description=__doc__)
    parser.add_argument("command", metavar="COMMAND")
    parser.add_argument("--limit", type=float, default=600, metavar="SECONDS")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xenolith-nested-") as name:
        try:
            outer = fetch(Path(name), os.environ.get(checkout.KERNEL_VARIABLE))
            return checkout.run(outer, options.command, Path(name), options.limit).status
        except (BuildError, MachineError) as error:
            print(f"Error: {error}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
