"""`xenolithd`: the daemon that holds a user's domain table and xenstore.

`xl` starts it when it is needed. Run by hand it stays in the foreground until SIGTERM or SIGINT;
either way, domains run on without it.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys

from xenolith.toolstack import paths
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.daemon.server import Daemon
from xenolith.toolstack.daemon_start import READY
from xenolith.toolstack.failures import reason
from xenolith.xenstore.journal import JournalError


def main() -> int:
    """Run the daemon; return its exit status."""
    parser = argparse.ArgumentParser(prog="xenolithd", description=__doc__)
    parser.add_argument(
        "--ready-fd",
        type=int,
        metavar="FD",
        help="run in the background: say here when it serves, log to a file",
    )
    ready: int | None = parser.parse_args().ready_fd
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    try:
        if ready is not None:
            # Whoever waits for its end must not wait for that of our children.
            os.set_inheritable(ready, False)
            _log_to_file()
        daemon = Daemon()
    except (DaemonError, JournalError, OSError) as error:
        logging.error("cannot start: %s", reason(error))
        if ready is not None:
            os.write(ready, reason(error).encode(errors="replace"))
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: daemon.stop())
    if ready is not None:
        os.write(ready, READY)
        os.close(ready)
    daemon.run()
    daemon.close()
    return 0


def _log_to_file() -> None:
    """Send standard error, and with it that of the zygote, to the daemon's log."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        os.makedirs(paths.log_dir(), mode=0o700, exist_ok=True)
        log = os.open(paths.daemon_log(), flags, 0o600)
    except OSError as error:
        raise DaemonError(
            f"no log can be written: {reason(error)} (XENOLITH_STATE_DIR names another directory)"
        ) from None
    os.dup2(log, 2)
    os.close(log)


if __name__ == "__main__":
    sys.exit(main())
