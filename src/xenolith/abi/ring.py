"""The shared ring of requests and responses that most PV devices use: its head, and how slots are counted.

Mirrors public/io/ring.h, whose macros give every device a struct of its own.
"""

from __future__ import annotations

SRING_HEAD_SIZE = 64
"""Bytes before the first slot: indices, and room for what a device puts there."""

REQ_PROD, REQ_EVENT, RSP_PROD, RSP_EVENT = range(4)
"""The 32-bit words of the head."""


def slots(size: int, slot_size: int) -> int:
    """How many slots a ring of ``size`` bytes has: a power of two."""
    return 1 << ((size - SRING_HEAD_SIZE) // slot_size).bit_length() - 1
