"""PV guests that do what no sane kernel does: what is refused, what crashes the domain, what stays as it is."""

from __future__ import annotations

import pytest

from .build import GuestBuilder
from .harness import PvGuestDomain
from .pv_invariants import check_invariants

pytestmark = pytest.mark.guest

VCPUS = {"page_tables": 1}


@pytest.mark.parametrize("name", VCPUS)
def test_attack_is_refused(pv_guests: GuestBuilder, name: str) -> None:
    with PvGuestDomain(pv_guests.build(f"faults/{name}"), vcpus=VCPUS[name]) as domain:
        domain.wait_success()
        domain.call(lambda: check_invariants(domain.domain))
    assert not domain.log_lines
