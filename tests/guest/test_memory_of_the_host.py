"""What a domain takes of the host's memory, and gives back when it ends."""

from __future__ import annotations

import os

import pytest

from .build import GuestBuilder
from .harness import GuestDomain

pytestmark = pytest.mark.guest


def test_the_memory_is_given_back_while_the_process_lives_on(guests: GuestBuilder) -> None:
    with GuestDomain(guests.build("faults/fuzz"), cmdline="seed=1 iterations=500") as domain:
        memory = domain.machine.core_memory().fd
        domain.wait_shutdown()
        held = os.fstat(memory).st_blocks
        domain.machine.stop()
        assert os.fstat(memory).st_blocks == held > 0, "it can still be dumped"
        domain.machine.release()
        assert os.fstat(memory).st_blocks == 0
