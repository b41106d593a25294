"""Where the builder keeps what it can make again: unpacked kernels and guest assets.

The place is the one of the XDG base directory specification; XENOLITH_CACHE_DIR in the
environment moves it.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """The user's cache directory of Xenolith; it need not exist yet."""
    chosen = os.environ.get("XENOLITH_CACHE_DIR")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    # The specification says that a relative path in the variable is to be ignored.
    if base and os.path.isabs(base):
        return Path(base, "xenolith")
    return Path.home() / ".cache" / "xenolith"
