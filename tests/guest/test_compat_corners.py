"""Xen's ABI as a 32-bit PVH guest sees it: each of guests/compat/corners checks one part of it."""

from __future__ import annotations

import pytest

from .build import GuestBuilder
from .harness import GuestDomain

pytestmark = pytest.mark.guest


@pytest.mark.parametrize("name", ["events", "grants", "memory"])
def test_corner(compat_guests: GuestBuilder, name: str) -> None:
    with GuestDomain(compat_guests.build(f"corners/{name}"), domid=7) as domain:
        domain.wait_success()
