"""Random hypercalls of a PV guest: its process survives, answers all the while, and keeps what Xen promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenolith.abi.sched import ShutdownReason

from .build import GuestBuilder
from .harness import DEADLINE, PvGuestDomain
from .pv_invariants import check_invariants

pytestmark = pytest.mark.guest


def fuzz(image: Path, options: str, timeout: float) -> None:
    with PvGuestDomain(image, cmdline=options, vcpus=2) as domain:
        for _ in range(5):
            domain.call(lambda: check_invariants(domain.domain))
        assert domain.wait_shutdown(timeout) is ShutdownReason.poweroff, domain.complaints
        domain.call(lambda: check_invariants(domain.domain))
    assert domain.output.endswith(b"Test result: SUCCESS\n"), options
    assert b"FAILURE" not in domain.output, options


@pytest.mark.parametrize("seed", range(1, 5))
def test_hypercalls(pv_guests: GuestBuilder, seed: int) -> None:
    fuzz(pv_guests.build("faults/fuzz"), f"seed={seed} iterations=2000", DEADLINE)


@pytest.mark.parametrize("seed", range(1, 4))
def test_random_code(pv_guests: GuestBuilder, seed: int) -> None:
    fuzz(pv_guests.build("faults/random_code"), f"seed={seed} snippets=2000", DEADLINE)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_random_code_for_long(pv_guests: GuestBuilder, seed: int) -> None:
    fuzz(pv_guests.build("faults/random_code"), f"seed={seed} snippets=60000", 300)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_hypercalls_for_long(pv_guests: GuestBuilder, seed: int) -> None:
    fuzz(pv_guests.build("faults/fuzz"), f"seed={seed} iterations=60000", 300)
