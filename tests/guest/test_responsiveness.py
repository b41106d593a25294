"""Whatever a guest does, its machine answers, pauses and stops at once."""

from __future__ import annotations

import time

import pytest

from .build import GuestBuilder
from .harness import PROMPT, GuestDomain

pytestmark = pytest.mark.guest

WAYS_TO_SPIN = (
    "apic_page", "double_fault", "exits", "hypercalls", "loop", "new_code", "nothing_there",
    "page_fault", "ports", "remapping", "single_steps", "software_interrupt", "string_in_a_hole",
    "string_instruction", "string_port", "tlb_flushes", "undefined_instruction", "with_pauses",
    "yields",
)  # fmt: skip

BATCHES = (
    "console", "decrease", "grant_copy", "grant_map", "grant_unmap", "multicall",
    "multicall_of_batches", "multicall_of_large_extents", "populate", "range",
)  # fmt: skip


def obeys(domain: GuestDomain) -> None:
    """Everything asked of the machine is done promptly; how it stops is seen at the domain's end."""
    for _ in range(5):
        domain.call(lambda: None)
    domain.pause()
    printed = len(domain.output)
    domain.call(lambda: None)
    assert len(domain.output) == printed, "a paused guest printed"
    domain.unpause()
    domain.call(lambda: None)
    assert not domain.log_lines


@pytest.mark.parametrize("how", WAYS_TO_SPIN)
def test_a_guest_that_spins_with_interrupts_off(guests: GuestBuilder, how: str) -> None:
    with GuestDomain(guests.build("faults/spin"), cmdline=how) as domain:
        domain.wait_for("^spinning$")
        obeys(domain)


def test_vcpus_that_spin_together(guests: GuestBuilder) -> None:
    with GuestDomain(guests.build("faults/spin"), cmdline="yields", vcpus=3) as domain:
        domain.wait_for("^spinning$")
        obeys(domain)


@pytest.mark.parametrize("batch", BATCHES)
def test_hypercalls_on_lists_of_absurd_length(guests: GuestBuilder, batch: str) -> None:
    with GuestDomain(guests.build("faults/batches"), cmdline=batch) as domain:
        domain.wait_for("^going$")
        obeys(domain)


@pytest.mark.parametrize("where", ["ring", "port", "hypercall"])
def test_a_flood_of_output(guests: GuestBuilder, where: str) -> None:
    with GuestDomain(guests.build("faults/flood"), cmdline=where) as domain:
        domain.wait_for("^flooding$")
        domain.wait_for(r"^x{1023}\r?\n")
        obeys(domain)


def test_a_flood_that_the_reader_cannot_follow(guests: GuestBuilder) -> None:
    with GuestDomain(guests.build("faults/flood"), cmdline="ring") as domain:
        domain.slow_reader = lambda: time.sleep(PROMPT / 20)
        domain.wait_for("^flooding$")
        obeys(domain)


def test_a_domain_that_has_shut_down_still_answers(guests: GuestBuilder) -> None:
    with GuestDomain(guests.build("faults/triple_fault")) as domain:
        domain.wait_shutdown()
        domain.call(lambda: None)
        domain.unpause()
        domain.call(lambda: None)
