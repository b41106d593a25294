"""The states through which the two ends of a PV device shake hands.

Mirrors public/io/xenbus.h.
"""

from __future__ import annotations

from enum import IntEnum

from xenolith.abi.constants import c_constants

HEADER = "io/xenbus.h"


@c_constants("XenbusState")
class XenbusState(IntEnum):
    """The value of a device's ``state`` node."""

    Unknown = 0
    Initialising = 1
    InitWait = 2
    Initialised = 3
    Connected = 4
    Closing = 5
    Closed = 6
    Reconfiguring = 7
    Reconfigured = 8
