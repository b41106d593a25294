"""`make run`: creates a domain, shows its console until user space is up, and leaves as standard input allows.

On a terminal the console stays, to be used and left with ^]; without one the domain is shut down cleanly.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

from xenolith.cli import xl
from xenolith.toolstack.client import Toolstack, ToolstackError
from xenolith.toolstack.config import load
from xenolith.toolstack.config_source import read_source

MARKER = b"XENOLITH: user space is up"
_CHUNK = 65536


def main(arguments: list[str] | None = None) -> int:
    """Run the domain of the configuration file that is the only argument; return the exit status."""
    (path,) = sys.argv[1:] if arguments is None else arguments
    if sys.stdin.isatty():
        return xl.main(["create", "-c", path])
    name = load(read_source(path)).config.name
    started = time.monotonic()
    status = xl.main(["create", "-p", path])
    if status != 0:
        return status
    toolstack = Toolstack.connect()
    domid = toolstack.resolve(name)
    try:
        console = toolstack.console(domid)
        toolstack.unpause(domid)
        shown = _show_until(console.fileno(), MARKER)
        if not shown:
            print(f"\n{name} ended before its user space was up", file=sys.stderr)
            return 1
        print(
            f"\nUser space came up {time.monotonic() - started:.1f} s after xl create.", flush=True
        )
        toolstack.shutdown(domid)
        _show_until(console.fileno(), None)
        return 0
    except BaseException:
        with contextlib.suppress(ToolstackError):
            toolstack.destroy(domid)
        raise


def _show_until(console: int, marker: bytes | None) -> bool:
    """Copy the console to standard output up to the line with the marker; False if it ends first."""
    seen = b""
    while data := _read(console):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        if marker is not None:
            seen = (seen + data)[-_CHUNK:]
            at = seen.find(marker)
            if at >= 0 and b"\n" in seen[at:]:
                return True
    return False


def _read(console: int) -> bytes:
    try:
        return os.read(console, _CHUNK)
    except ConnectionError:
        # The domain's process was killed: what it had sent has been shown.
        return b""


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ToolstackError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
