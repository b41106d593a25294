"""What an HVM guest reads where a PC has devices, and it has none."""

from __future__ import annotations

import pytest
from small_domain import SmallDomain


@pytest.mark.parametrize(("port", "size"), [(0x61, 1), (0x70, 2), (0xCF8, 4)])
def test_no_ports_exist(port: int, size: int) -> None:
    vcpu = SmallDomain().domain.vcpus[0]
    assert vcpu.read_port(port, size) == (1 << 8 * size) - 1


def test_a_timer_that_is_not_there_is_seen_through_at_once() -> None:
    # Linux goes on reading as long as its high byte is all ones: see quick_pit_calibrate().
    vcpu = SmallDomain().domain.vcpus[0]
    assert vcpu.read_port(0x42, 1) == 0
