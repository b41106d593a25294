"""Starting `xenolithd` when no daemon answers: once, however many callers want it at a time.

The starter holds a lock while it waits on a pipe for the daemon's word that it serves, so nothing
polls and a second caller finds the daemon of the first.
"""

from __future__ import annotations

import fcntl
import os
import sys

from xenolith.toolstack import paths
from xenolith.toolstack.failures import reason
from xenolith.toolstack.rpc import Connection, ProtocolError

READY = b"ready\n"
"""What the daemon writes to its ready pipe; anything else there is why it could not start."""


class DaemonStartError(Exception):
    """The daemon could not be started; the message is one sentence."""


def start_and_connect() -> Connection:
    """Return a connection to the daemon that runs, or else to one started now."""
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        lock = os.open(paths.start_lock(), flags, 0o600)
    except OSError as error:
        raise DaemonStartError(
            f"The run directory cannot be used: {reason(error)} (XENOLITH_RUN_DIR names another)"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return Connection.connect(paths.daemon_socket())
        except OSError:
            _start()
        return Connection.connect(paths.daemon_socket())
    except (OSError, ProtocolError) as error:
        raise DaemonStartError(f"The daemon cannot be reached: {reason(error)}") from None
    finally:
        os.close(lock)


def _start() -> None:
    """Start a daemon that is nobody's child; return once it serves."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _become_daemon(writer)
        finally:
            os._exit(1)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    if said != READY:
        why = said.decode(errors="replace").strip() or "it ended at once"
        raise DaemonStartError(f"The daemon could not be started: {why}")


def _become_daemon(ready: int) -> None:
    """Leave the caller's session and process group, then run the daemon's program."""
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.set_inheritable(ready, True)
    # The daemon stands in the root directory, where a relative search path would lead nowhere.
    search = os.environ.get("PYTHONPATH")
    if search:
        os.environ["PYTHONPATH"] = ":".join(map(os.path.abspath, search.split(":")))
    os.chdir("/")
    program = [sys.executable, "-P", "-m", "xenolith.cli.xenolithd", "--ready-fd", str(ready)]
    os.execv(sys.executable, program)
