"""How the store says no; docs/misc/xenstore.txt names the error of each request."""

from __future__ import annotations

from xenolith.abi.errno import XenError


class XenstoreError(XenError):
    """A request that failed; the reply is ERROR with the errno's name."""
