"""Xen's ABI as a guest sees it: each of guests/abi/corners checks one part of it, and says SUCCESS."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenolith.abi.sched import ShutdownReason

from .build import GuestBuilder
from .harness import GuestDomain
from .xenstore import xenstore

pytestmark = pytest.mark.guest

MEMORY = 32

VCPUS = {
    "balloon": 1,
    "clock": 2,
    "control_registers": 1,
    "cpuid": 1,
    "event_delivery": 1,
    "exceptions": 1,
    "fpu": 3,
    "grants": 1,
    "hypercall_page": 1,
    "ipi": 2,
    "lock": 3,
    "memory_map": 1,
    "msr": 1,
    "multicall": 1,
    "nmi": 2,
    "pending_together": 1,
    "poll": 2,
    "runstate": 2,
    "self_modifying": 1,
    "shared_info": 1,
    "sipi_ignored": 2,
    "smp_start": 4,
    "timers": 1,
    "upcall_vector": 1,
    "user_mode": 1,
    "version": 1,
    "x2apic": 2,
    "xapic": 1,
}
"""The guests that tell the result themselves, and the vCPUs that each needs."""


@pytest.mark.parametrize("name", VCPUS)
def test_corner(guests: GuestBuilder, name: str) -> None:
    kernel = guests.build(f"corners/{name}")
    options = f"domid=7 memory={MEMORY}"
    with GuestDomain(kernel, vcpus=VCPUS[name], memory=MEMORY, cmdline=options, domid=7) as domain:
        domain.wait_success()


def test_hello(guests: GuestBuilder) -> None:
    with GuestDomain(guests.build("corners/hello"), cmdline="answer=0x2a") as domain:
        domain.wait_success()
    assert domain.text.startswith("by the debug port\nby console_io: -7 7 0x1234abcd text\n")


def test_rings(guests: GuestBuilder, tmp_path: Path) -> None:
    domain = GuestDomain(guests.build("corners/rings"), domid=7)
    with xenstore(domain, tmp_path, {"name": "the seventh"}), domain:
        domain.wait_for("^ready$")
        assert domain.text.startswith("x" * 4998 + "\n")
        typed = b"typed by us\n"
        assert domain.type(typed) == len(typed)
        domain.wait_for("^read: typed by us$")
        domain.wait_for("^xenstore says the seventh$")
        domain.wait_success()


def test_the_connection_to_xenstore_is_reset(guests: GuestBuilder, tmp_path: Path) -> None:
    domain = GuestDomain(guests.build("corners/xenstore_reset"), domid=7)
    with xenstore(domain, tmp_path, {"name": "the seventh", "data": ""}), domain:
        domain.wait_success()


def test_nonsense_in_ring_indices_before_a_real_xenstore(
    guests: GuestBuilder, tmp_path: Path
) -> None:
    domain = GuestDomain(guests.build("faults/ring_indices"), cmdline="seed=4")
    with xenstore(domain, tmp_path, {}), domain:
        domain.type(b"typed")
        assert domain.wait_shutdown() is ShutdownReason.poweroff
        domain.call(lambda: None)
    assert domain.output.endswith(b"printed by the ring\nTest result: SUCCESS\n")


def test_a_watchdog_that_is_not_fed_bites(guests: GuestBuilder) -> None:
    with GuestDomain(guests.build("corners/watchdog")) as domain:
        assert domain.wait_shutdown() is ShutdownReason.watchdog
    assert domain.text == "the watchdog is hungry now\n"
