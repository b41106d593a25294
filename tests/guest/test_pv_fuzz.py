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
    assert outcome(image, options, timeout) is ShutdownReason.poweroff, options


def outcome(image: Path, options: str, timeout: float) -> ShutdownReason | None:
    """How the guest has ended; if by itself, it was content."""
    with PvGuestDomain(image, cmdline=options, vcpus=2) as domain:
        for _ in range(5):
            domain.call(lambda: check_invariants(domain.domain))
        reason = domain.wait_shutdown(timeout)
        domain.call(lambda: check_invariants(domain.domain))
    if reason is ShutdownReason.poweroff:
        assert domain.output.endswith(b"Test result: SUCCESS\n"), options
    return reason


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
    """In so many calls an entry may come to map the guest's own code, and a result to be stored there."""
    ended = outcome(pv_guests.build("faults/fuzz"), f"seed={seed} iterations=60000", 300)
    assert ended in (ShutdownReason.poweroff, ShutdownReason.crash)
