"""Where the programs of one user meet: the directory of sockets and run-time state.

Follows the XDG base directory specification for users and the FHS (/run) for root.
"""

from __future__ import annotations

import errno
import os
import stat

_XENSTORED_RUN_DIR = "/run/xenstored"

_LONGEST = 107 - len("/domains/32751.socket")
"""Bytes: the path of a socket, sun_path of unix(7), has to end in them."""


def runtime_directory() -> str:
    """The directory of run-time state, created with mode 0700 if it is absent.

    ``XENOLITH_RUN_DIR`` names it; else it is /run/xenolith for root, else xenolith below
    ``XDG_RUNTIME_DIR``, else /tmp/xenolith-<uid>. PermissionError unless it is a directory (not
    a symbolic link) of this user to which nobody else can write; OSError if it cannot be made.
    """
    directory = _choose()
    if len(os.fsencode(directory)) > _LONGEST:
        why = f"a path of more than {_LONGEST} bytes is too long for sockets"
        raise OSError(errno.ENAMETOOLONG, why, directory)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        _check_private(directory)
    return directory


def xenstored_socket() -> str:
    """Where xenstored listens and xenstore's clients connect.

    ``XENSTORED_PATH`` names it, as it does to libxenstore; else it is Xen's own place for root,
    else in the runtime directory, as it is wherever ``XENOLITH_RUN_DIR`` moves that.
    """
    chosen = os.environ.get("XENSTORED_PATH")
    if chosen:
        return os.path.abspath(chosen)
    if os.geteuid() == 0 and not os.environ.get("XENOLITH_RUN_DIR"):
        return f"{_XENSTORED_RUN_DIR}/socket"
    return f"{runtime_directory()}/xenstored.socket"


def _choose() -> str:
    override = os.environ.get("XENOLITH_RUN_DIR")
    if override:
        return os.path.abspath(override)
    if os.geteuid() == 0:
        return "/run/xenolith"
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session:
        return f"{session}/xenolith"
    return f"/tmp/xenolith-{os.geteuid()}"


def _check_private(directory: str) -> None:
    # In /tmp anybody may have made the name first: a link to elsewhere, or a directory whose
    # owner could replace our sockets.
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode):
        raise PermissionError(f"{directory} is not a directory")
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{directory} belongs to user {status.st_uid}, not to you")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{directory} can be written by others than its owner")
