"""PV guests that do what no sane kernel does: what is refused, what crashes the domain, what stays as it is."""

from __future__ import annotations

import re

import pytest

from xenolith.abi.sched import ShutdownReason

from .build import GuestBuilder
from .harness import PvGuestDomain
from .pv_invariants import check_invariants

pytestmark = pytest.mark.guest


@pytest.mark.parametrize("name", ["exhaust", "page_tables"])
def test_what_is_refused_changes_nothing(pv_guests: GuestBuilder, name: str) -> None:
    with PvGuestDomain(pv_guests.build(f"faults/{name}"), domid=7) as domain:
        domain.wait_success()
        domain.call(lambda: check_invariants(domain.domain))
    assert not domain.complaints


@pytest.mark.parametrize("vcpus", [2, 4])
def test_races_between_vcpus(pv_guests: GuestBuilder, vcpus: int) -> None:
    options = f"vcpus={vcpus} rounds=1500"
    with PvGuestDomain(pv_guests.build("faults/races"), vcpus=vcpus, cmdline=options) as domain:
        for _ in range(5):
            domain.call(lambda: check_invariants(domain.domain))
        domain.wait_success()
        domain.call(lambda: check_invariants(domain.domain))
    assert not domain.complaints


WAYS = {
    "stack_unmapped": "stack at 0x123455fc8 cannot be written",
    "stack_read_only": "stack at 0xffffffff8.* cannot be written",
    "stack_of_xens": "stack at 0xffff82ffffffffc8 cannot be written",
    "stack_no_address": "stack at 0x3fffffffffffffc8 cannot be written",
    "stack_at_the_end": "stack at 0xffffffffffffffc8 cannot be written",
    "kernel_stack_unmapped": "stack at 0x123455fc0 cannot be written",
    "kernel_stack_of_xens": "stack at 0xffff82ffffffffc0 cannot be written",
    "trap_without_a_table": "a trap at 0xffffffff8.* has no handler",
    "page_fault_without_a_handler": "a trap at 0xffffffff8.* has no handler",
    "event_callback_nowhere": "a trap at 0xffffffff8.* has no handler",
    "handlers_nowhere": "stack at 0x.* cannot be written",
    "iret_frame_nowhere": "frame for iret at 0x123456000 cannot be read",
    "iret_frame_no_address": "frame for iret at 0x4000000000000000 cannot be read",
    "iret_to_a_program_without_tables": "returns to user mode at 0x1000 without a user page table",
    "iret_nowhere_without_a_table": "a trap at 0x4000000000000000 has no handler",
    "no_code_mapped": "stack at 0xffffffff8.* cannot be written",
    "failsafe_without_a_stack": "a trap at 0x0 has no handler",
}
"""How a kernel may lose its way, and what its domain crashes of."""


@pytest.mark.parametrize("how", WAYS)
def test_a_kernel_that_loses_its_way_crashes_with_its_registers(
    pv_guests: GuestBuilder, how: str
) -> None:
    with PvGuestDomain(pv_guests.build("faults/astray"), cmdline=how, vcpus=2) as domain:
        assert domain.wait_shutdown() is ShutdownReason.crash
        domain.call(lambda: check_invariants(domain.domain))
    assert "FAILURE" not in domain.text
    first, *dump, last = domain.complaints
    assert re.fullmatch(r"d1v[01]: RIP:    \[<[0-9a-f]{16}>\]", first)
    assert any("Guest stack trace" in line for line in dump)
    assert re.fullmatch(rf"d1: vCPU [01]: .*{WAYS[how]}", last)
