"""Xen's ABI for PV guests as a kernel sees it: the guests of guests/pv/corners."""

from __future__ import annotations

import pytest

from .build import GuestBuilder
from .harness import PvGuestDomain

pytestmark = pytest.mark.guest

VCPUS = {"breakpoints": 1, "grants": 1, "hello": 1, "ldt": 1, "linear_tables": 1, "traps": 1}


@pytest.mark.parametrize("name", VCPUS)
def test_corner(pv_guests: GuestBuilder, name: str) -> None:
    with PvGuestDomain(pv_guests.build(f"corners/{name}"), vcpus=VCPUS[name], domid=7) as domain:
        domain.wait_success()
    assert not domain.complaints
