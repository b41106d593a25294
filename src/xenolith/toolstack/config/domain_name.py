"""What a domain may be called.

Its name is a word in the tables of xl(1), a part of the names of files, and never mistaken for a
domain ID.
"""

from __future__ import annotations

import re

MAX_NAME = 200
"""Bytes of UTF-8: names of logs, which end at 255, are made of it."""


def fault(name: str) -> str | None:
    """Why a domain cannot have this name, as the end of a sentence; None if it can."""
    if not name:
        return "it is empty"
    if not name.isprintable() or re.search(r"[\s/]", name) or name in (".", ".."):
        return f"{name!a} holds a space, a slash or an unprintable character"
    if name.isascii() and name.isdigit():
        return f"'{name}' would be taken for a domain ID"
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME:
        return f"longer than {MAX_NAME} bytes"
    return None
