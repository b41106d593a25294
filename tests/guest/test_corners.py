"""Xen's ABI as a guest sees it: each of guests/abi/corners checks one part of it, and says SUCCESS."""

from __future__ import annotations

import pytest

from .build import GuestBuilder
from .harness import GuestDomain

pytestmark = pytest.mark.guest


def test_hello(guests: GuestBuilder) -> None:
    with GuestDomain(guests.build("corners/hello"), cmdline="answer=0x2a") as domain:
        domain.wait_success()
    assert domain.text.startswith("by the debug port\nby console_io: -7 7 0x1234abcd text\n")
