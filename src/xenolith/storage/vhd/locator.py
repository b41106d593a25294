"""Paths of a parent as parent locators have them: as Windows writes them, and as a file URL.

Windows' are UTF-16 with backslashes, relative (W2ru) and absolute (W2ku); MacX is a URL in UTF-8
after ``file://``, which vhd-util(1) writes with a relative path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

RELATIVE = b"W2ru"
ABSOLUTE = b"W2ku"
URL = b"MacX"

BY_PREFERENCE = (RELATIVE, URL, ABSOLUTE)
"""A chain that was moved as a whole is found by its relative paths."""

LONGEST = 64 << 10
"""Bytes of a path, PATH_MAX in UTF-16 many times over."""

_DRIVE = re.compile(r"[A-Za-z]:(?=[\\/])")


def encode(parent: str, child: str) -> dict[bytes, bytes]:
    """The locators' contents by code, for two absolute paths without symbolic links."""
    relative = os.path.relpath(parent, os.path.dirname(child))
    dotted = relative if relative.startswith("../") else f"./{relative}"
    return {
        URL: b"file://" + os.fsencode(dotted),
        ABSOLUTE: _windows(parent),
        RELATIVE: _windows(dotted),
    }


def decode(code: bytes, data: bytes, directory: str) -> Iterator[str]:
    """The absolute paths that a locator may mean, for a child in ``directory``, a real path."""
    if code == URL:
        path = data.partition(b"\0")[0].removeprefix(b"file://")
        # A percent sign is one in the URLs of vhd-util, which does not escape.
        for text in dict.fromkeys((path, unquote_to_bytes(path))):
            yield _absolute(os.fsdecode(text), directory)
    elif code in (RELATIVE, ABSOLUTE):
        windows = data.decode("utf-16-le", "surrogatepass").partition("\0")[0]
        yield _absolute(_DRIVE.sub("", windows).replace("\\", "/"), directory)


def _windows(path: str) -> bytes:
    return path.replace("/", "\\").encode("utf-16-le", "surrogatepass")


def _absolute(path: str, directory: str) -> str:
    return os.path.normpath(os.path.join(directory, path))
