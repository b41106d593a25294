"""The pair of byte rings by which the two ends of a netchannel2 send each other messages.

Mirrors io/uring.h of the Linux trees of Xen 4.0's time, which Xen's own public headers never had; the C
declarations that a test compares are in guests/netchannel2.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from xenolith.abi.layout import U8, U16, U32, Layout

NETCHANNEL2_MSG_PAD = 255
"""The type of a message that only fills the ring up to its end, which no message crosses."""

MESSAGE_ALIGNMENT = 8
"""Every message's size is a multiple of so many bytes."""

PROD, CONS, PROD_EVENT, CONS_EVENT = range(4)
"""The 32-bit words of one direction. The producer owns PROD and CONS_EVENT, the consumer the others."""


class Sring(NamedTuple):
    """The indices of one direction: bytes ever produced and consumed, and what to be told of."""

    prod: U32
    cons: U32
    prod_event: U32
    cons_event: U32
    pad: Annotated[bytes, "48s"]


SRING = Layout(Sring)


class Shared(NamedTuple):
    """The control page: first the direction in which the end that provided the memory produces."""

    frontends: Annotated[Sring, SRING]
    backends: Annotated[Sring, SRING]


SHARED = Layout(Shared)


class MsgHdr(NamedTuple):
    """What every message begins with; ``size`` is that of the whole message, in bytes."""

    type: U8
    flags: U8
    size: U16


MSG_HDR = Layout(MsgHdr)
