"""The console ring: one page with a ring of bytes in each direction.

Mirrors public/io/console.h.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from xenolith.abi.layout import U32, Layout

HEADER = "io/console.h"


class XenconsInterface(NamedTuple):
    """The ring page; indices run freely and count modulo the ring's size."""

    in_: Annotated[bytes, "1024s"]
    out: Annotated[bytes, "2048s"]
    in_cons: U32
    in_prod: U32
    out_cons: U32
    out_prod: U32


XENCONS_INTERFACE = Layout(XenconsInterface, "struct xencons_interface", HEADER, {"in_": "in"})
