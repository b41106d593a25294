"""Every hypercall with arguments that are random, wild or almost right; the domain answers all the while."""

from __future__ import annotations

import pytest

from xenolith.abi.sched import ShutdownReason

from .build import GuestBuilder
from .harness import DEADLINE, GuestDomain

pytestmark = pytest.mark.guest


def fuzz(guests: GuestBuilder, seed: int, iterations: int, timeout: float) -> None:
    options = f"seed={seed} iterations={iterations}"
    with GuestDomain(guests.build("faults/fuzz"), cmdline=options) as domain:
        for _ in range(20):
            domain.call(lambda: None)
        assert domain.wait_shutdown(timeout) is ShutdownReason.poweroff
        domain.call(lambda: None)
    assert domain.output.endswith(b"Test result: SUCCESS\n"), options
    assert b"FAILURE" not in domain.output, options
    assert not domain.log_lines


@pytest.mark.parametrize("seed", range(1, 5))
def test_hypercalls(guests: GuestBuilder, seed: int) -> None:
    fuzz(guests, seed, 4000, DEADLINE)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_hypercalls_for_long(guests: GuestBuilder, seed: int) -> None:
    fuzz(guests, seed, 100_000, 120)
