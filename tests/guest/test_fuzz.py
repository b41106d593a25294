"""Random hypercalls and random code; the domain answers all the while."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenolith.abi.sched import ShutdownReason

from .build import GuestBuilder
from .harness import DEADLINE, GuestDomain

pytestmark = pytest.mark.guest


def fuzz(image: Path, options: str, timeout: float) -> None:
    with GuestDomain(image, cmdline=options) as domain:
        for _ in range(20):
            domain.call(lambda: None)
        assert domain.wait_shutdown(timeout) is ShutdownReason.poweroff
        domain.call(lambda: None)
    assert domain.output.endswith(b"Test result: SUCCESS\n"), options
    assert not domain.log_lines


@pytest.mark.parametrize("seed", range(1, 5))
def test_hypercalls(guests: GuestBuilder, seed: int) -> None:
    fuzz(guests.build("faults/fuzz"), f"seed={seed} iterations=4000", DEADLINE)


@pytest.mark.parametrize("seed", range(1, 3))
def test_random_code(guests: GuestBuilder, seed: int) -> None:
    fuzz(guests.build("faults/random_code"), f"seed={seed} snippets=1500", DEADLINE)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_hypercalls_for_long(guests: GuestBuilder, seed: int) -> None:
    fuzz(guests.build("faults/fuzz"), f"seed={seed} iterations=100000", 120)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_random_code_for_long(guests: GuestBuilder, seed: int) -> None:
    fuzz(guests.build("faults/random_code"), f"seed={seed} snippets=60000", 120)
