"""Xen's ABI for PV guests as a kernel sees it: the guests of guests/pv/corners."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenolith.machine.address import PAGE_SIZE

from .build import GuestBuilder
from .harness import PvGuestDomain

pytestmark = pytest.mark.guest

VCPUS = {
    "breakpoints": 1,
    "cpuid": 1,
    "grants": 1,
    "hello": 1,
    "ldt": 1,
    "linear_tables": 1,
    "ports": 1,
    "traps": 1,
}


@pytest.mark.parametrize("name", VCPUS)
def test_corner(pv_guests: GuestBuilder, name: str) -> None:
    with PvGuestDomain(pv_guests.build(f"corners/{name}"), vcpus=VCPUS[name], domid=7) as domain:
        domain.wait_success()
    assert not domain.complaints


def resident() -> int:
    """Memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * PAGE_SIZE >> 20


def test_memory_that_a_domain_may_get_later_costs_nothing(pv_guests: GuestBuilder) -> None:
    kernel = pv_guests.build("corners/hello")
    before = resident()
    with PvGuestDomain(kernel, memory=64, maxmem=512 << 10) as domain:
        assert resident() - before < 64
        domain.wait_success()
