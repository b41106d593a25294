"""Guests that do what no sane kernel does: each ends by itself alone, with a reason and a line in the log."""

from __future__ import annotations

import pytest

from xenolith.abi.sched import ShutdownReason

from .build import GuestBuilder
from .harness import GuestDomain

pytestmark = pytest.mark.guest

TRIPLE_FAULT = "d1v0: triple fault, invoking reboot"


def test_a_triple_fault_reboots(guests: GuestBuilder) -> None:
    with GuestDomain(guests.build("faults/triple_fault")) as domain:
        assert domain.wait_shutdown() is ShutdownReason.reboot
    assert domain.log_lines == [TRIPLE_FAULT]
    assert domain.text == ""


FATAL = (
    "cr3_garbage", "cr3_in_apic", "cr3_in_hole", "cr3_of_code", "idt_in_apic", "idt_in_hole",
    "idt_in_hole_interrupt", "idt_in_hole_nmi", "idt_in_hole_software", "tables_in_themselves",
    "task_state_in_hole",
)  # fmt: skip
"""Ways to go astray that end in a triple fault."""


@pytest.mark.parametrize("filtered", [0, 1])
@pytest.mark.parametrize("how", FATAL)
def test_a_kernel_that_loses_its_way(guests: GuestBuilder, how: str, filtered: int) -> None:
    options = f"{how} filter={filtered}"
    with GuestDomain(guests.build("faults/stray"), cmdline=options) as domain:
        assert domain.wait_shutdown() is ShutdownReason.reboot
    assert domain.log_lines == [TRIPLE_FAULT]


CRASHES = (
    "jump_beyond_addresses", "jump_to_apic", "jump_to_hole", "jump_to_written_hole",
    "no_task_register", "run_into_hole",
)  # fmt: skip
"""What the emulator cannot go on with: the domain crashes, and says why."""


@pytest.mark.parametrize("filtered", [0, 1])
@pytest.mark.parametrize("how", CRASHES)
def test_a_guest_that_the_engine_gives_up(guests: GuestBuilder, how: str, filtered: int) -> None:
    options = f"{how} filter={filtered}"
    with GuestDomain(guests.build("faults/stray"), cmdline=options) as domain:
        assert domain.wait_shutdown() is ShutdownReason.crash
        domain.call(lambda: None)
    assert len(domain.log_lines) == 1
    assert domain.log_lines[0].startswith("d1: ")


SURVIVED = (
    "cr4_garbage", "gdt_in_hole", "hypercall_with_tables_in_hole", "tables_in_apic",
    "tables_in_hole",
)  # fmt: skip
"""What a guest may do and live."""


@pytest.mark.parametrize("filtered", [0, 1])
@pytest.mark.parametrize("how", SURVIVED)
def test_a_kernel_that_finds_its_way_back(guests: GuestBuilder, how: str, filtered: int) -> None:
    options = f"{how} filter={filtered}"
    with GuestDomain(guests.build("faults/stray"), cmdline=options) as domain:
        domain.wait_success()
    assert not domain.log_lines


CHANCE = (
    "fault_with_stack_in_hole", "paging_off", "protection_off", "stack_in_apic", "stack_in_hole",
)  # fmt: skip
"""What becomes of the guest is chance; it must not take us with it."""


@pytest.mark.parametrize("filtered", [0, 1])
@pytest.mark.parametrize("how", CHANCE)
def test_a_guest_that_runs_on_as_it_may(guests: GuestBuilder, how: str, filtered: int) -> None:
    options = f"{how} filter={filtered}"
    with GuestDomain(guests.build("faults/stray"), cmdline=options) as domain:
        domain.call(lambda: None)
        domain.pause()


@pytest.mark.parametrize("filtered", [0, 1])
def test_events_whose_frame_goes_nowhere(guests: GuestBuilder, filtered: int) -> None:
    options = f"filter={filtered}"
    with GuestDomain(guests.build("faults/stack_nowhere"), cmdline=options) as domain:
        domain.wait_success()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nonsense_in_ring_indices(guests: GuestBuilder, seed: int) -> None:
    with GuestDomain(guests.build("faults/ring_indices"), cmdline=f"seed={seed}") as domain:
        domain.type(b"typed")
        assert domain.wait_shutdown() is ShutdownReason.poweroff
    assert b"FAILURE" not in domain.output
    assert domain.output.endswith(b"printed by the ring\nTest result: SUCCESS\n")


@pytest.mark.parametrize("fifo", [0, 1])
def test_frames_of_the_hypervisor_change_under_it(guests: GuestBuilder, fifo: int) -> None:
    with GuestDomain(guests.build("faults/own_frames"), cmdline=f"fifo={fifo}") as domain:
        domain.wait_success()


@pytest.mark.parametrize("seed", [1, 2])
def test_any_access_to_device_pages(guests: GuestBuilder, seed: int) -> None:
    with GuestDomain(
        guests.build("faults/device_page"), cmdline=f"memory=32 seed={seed}"
    ) as domain:
        domain.wait_success()


def test_frames_in_any_order(guests: GuestBuilder) -> None:
    with GuestDomain(guests.build("faults/scattered"), cmdline="permute") as domain:
        domain.wait_success()
