"""`make run` and `make debian`: creates a domain, shows its console, and leaves as standard input allows.

On a terminal the console stays, to be used and left with ^]; without one it is shown until the
guest is up, and the domain is then shut down cleanly.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
from pathlib import Path

from xenolith.cli import xl
from xenolith.cli.making import exit_status
from xenolith.toolstack.client import Toolstack, ToolstackError
from xenolith.toolstack.config import load
from xenolith.toolstack.config_source import read_source

MARKER = rb"XENOLITH: user space is up[^\n]*\n"
"""The line of the guests' small user space, as a regular expression."""

_CHUNK = 65536


def main(arguments: list[str] | None = None) -> int:
    """Run the program with these arguments, its name left out; return the exit status."""
    options = _parser().parse_args(arguments)
    return exit_status(lambda: _demonstrate(str(options.config), options.until))


def _demonstrate(path: str, until: re.Pattern[bytes]) -> int:
    if sys.stdin.isatty():
        return xl.main(["create", "-c", path])
    name = load(read_source(path)).config.name
    started = time.monotonic()
    status = xl.main(["create", "-p", path])
    if status != 0:
        return status
    with Toolstack.connect() as toolstack:
        domid = toolstack.resolve(name)
        try:
            with toolstack.console(domid) as console:
                toolstack.unpause(domid)
                if not _show_until(console.fileno(), until):
                    print(f"\n{name} ended before it was up", file=sys.stderr)
                    return 1
                passed = time.monotonic() - started
                print(f"\n{name} was up {passed:.1f} s after xl create.", flush=True)
                toolstack.shutdown(domid)
                _show_until(console.fileno(), None)
                return 0
        except BaseException:
            with contextlib.suppress(ToolstackError):
                toolstack.destroy(domid)
            raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xenolith.cli.demo",
        description="Create a domain and show its console; without a terminal, end it once it is up.",
    )
    parser.add_argument("config", type=Path, metavar="FILE", help="the domain's configuration")
    parser.add_argument(
        "--until",
        type=_pattern,
        default=re.compile(MARKER),
        metavar="REGEX",
        help="what the guest shows once it is up (default: what our small user space says)",
    )
    return parser


def _pattern(text: str) -> re.Pattern[bytes]:
    try:
        return re.compile(os.fsencode(text))
    except re.error as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no regular expression: {error}") from None


def _show_until(console: int, pattern: re.Pattern[bytes] | None) -> bool:
    """Copy the console to standard output until it has shown the pattern; False if it ends first."""
    seen = b""
    while data := _read(console):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        if pattern is not None:
            seen = (seen + data)[-_CHUNK:]
            if pattern.search(seen):
                return True
    return False


def _read(console: int) -> bytes:
    try:
        return os.read(console, _CHUNK)
    except ConnectionError:
        # The domain's process was killed: what it had sent has been shown.
        return b""


if __name__ == "__main__":
    sys.exit(main())
