"""Paths of the store: their syntax, the walk that they describe, relative ones.

Follows docs/misc/xenstore.txt: ASCII letters, digits and -/_@, no empty component, no trailing
slash; a path that starts with @ names a special watch; a relative one starts at the client's home.
"""

from __future__ import annotations

import re

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import XENSTORE_ABS_PATH_MAX
from xenolith.xenstore.errors import XenstoreError

_SYNTAX = re.compile(rb"/|/?[\w@-]+(?:/[\w@-]+)*")
_HOME = re.compile(r"/local/domain/\d{1,5}/")


def home(domid: int) -> str:
    """The path at which a domain's relative paths start."""
    return f"/local/domain/{domid}"


def resolve(raw: bytes, base: str) -> str:
    """The absolute path that a client whose home is ``base`` means; EINVAL if it is malformed.

    A special path (@introduceDomain) is returned as it is.
    """
    if _SYNTAX.fullmatch(raw) is None:
        raise XenstoreError(Errno.EINVAL, f"malformed path {raw[:80]!r}")
    path = raw.decode("ascii")
    if path[0] not in "/@":
        path = f"{base}/{path}"
    if len(path) > XENSTORE_ABS_PATH_MAX:
        raise XenstoreError(Errno.EINVAL, f"a path of {len(path)} bytes")
    return path


def is_special(path: str) -> bool:
    """Whether an absolute path names a special watch rather than a node of the tree."""
    return path[0] == "@"


def names(path: str) -> list[str]:
    """The steps of the walk to a node, from the forest of "" (the tree's root) and special nodes.

    "/" is [""], "/a/b" is ["", "a", "b"], "@releaseDomain" is itself.
    """
    return [""] if path == "/" else path.split("/")


def parent(path: str) -> str:
    """The path of the node above; that of "/" and of special nodes is "/"."""
    return path.rpartition("/")[0] or "/"


def child(path: str, name: str) -> str:
    """The path of the node called ``name`` below ``path``."""
    return f"/{name}" if path == "/" else f"{path}/{name}"


def prefixes(path: str) -> list[str]:
    """The path's ancestors from the top, and the path itself."""
    found = [] if is_special(path) or path == "/" else ["/"]
    end = path.find("/", 1)
    while end > 0:
        found.append(path[:end])
        end = path.find("/", end + 1)
    found.append(path)
    return found


def quota_length(path: str) -> int:
    """The length that counts against a domain's path quota: without any domain's home."""
    match = _HOME.match(path)
    return len(path) - match.end() if match else len(path)
