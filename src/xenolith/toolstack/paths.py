"""Where the toolstack keeps its files: sockets and state of running domains, logs, dumps.

Root has Xen's own places; an ordinary user has those of the XDG base directory specification.
XENOLITH_RUN_DIR in the environment moves all of it elsewhere, XENOLITH_STATE_DIR what outlives a
reboot of the host.
"""

from __future__ import annotations

import os

from xenolith.machine.run_dir import runtime_directory


def state_dir() -> str:
    """The directory of what outlives a reboot of the host: logs and dumps."""
    chosen = os.environ.get("XENOLITH_STATE_DIR")
    if chosen:
        return os.path.abspath(chosen)
    if os.environ.get("XENOLITH_RUN_DIR"):
        return f"{runtime_directory()}/state"
    if os.getuid() == 0:
        return "/var/lib/xenolith"
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return f"{base}/xenolith"


def _is_system() -> bool:
    """Whether this is root's own installation, which uses the places of Xen."""
    moved = os.environ.get("XENOLITH_RUN_DIR") or os.environ.get("XENOLITH_STATE_DIR")
    return os.getuid() == 0 and not moved


def daemon_socket() -> str:
    """The socket on which `xenolithd` serves `xl`."""
    return f"{runtime_directory()}/xenolithd.socket"


def start_lock() -> str:
    """The lock that whoever starts a daemon holds meanwhile."""
    return f"{runtime_directory()}/start.lock"


def daemon_lock() -> str:
    """The lock that the daemon holds, so that there is one."""
    return f"{runtime_directory()}/xenolithd.lock"


def domains_dir() -> str:
    """The directory of one control socket, status page and state file per domain."""
    return f"{runtime_directory()}/domains"


def log_dir() -> str:
    """The directory of the toolstack's logs."""
    return "/var/log/xen" if _is_system() else f"{state_dir()}/logs"


def daemon_log() -> str:
    """The daemon's own log, which is also the zygote's."""
    return f"{log_dir()}/xenolithd.log"


def console_log_dir() -> str:
    """The directory of the logs of guests' consoles."""
    return "/var/log/xen/console" if _is_system() else log_dir()


def console_log(name: str) -> str:
    """The file that keeps all that the guest of a domain printed."""
    return f"{console_log_dir()}/guest-{name}.log"


def domain_log(name: str) -> str:
    """The file of what the toolstack did for a domain, and of its process's last words."""
    return f"{log_dir()}/xl-{name}.log"


def dump_dir() -> str:
    """The directory of core dumps of guests."""
    return "/var/lib/xen/dump" if _is_system() else f"{state_dir()}/dump"
