"""PV guests that probe Xen's ABI and its defences, on KVM: the same programs that run on the other engine."""

from __future__ import annotations

import pytest

from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm.device import KvmDevice
from xenolith.toolstack.config import EngineChoice

from .build import GuestBuilder
from .harness import PvGuestDomain
from .pv_invariants import check_invariants

pytestmark = pytest.mark.guest

PATIENCE = 120.0
"""Traps are dear where KVM is itself a guest."""

VCPUS = {
    "corners/grants": 1,
    "corners/hello": 1,
    "corners/ldt": 1,
    "corners/linear_tables": 1,
    "corners/ports": 1,
    "corners/traps": 1,
    "faults/page_tables": 1,
}


@pytest.fixture(autouse=True)
def _kvm() -> None:
    try:
        KvmDevice.open()
    except EngineError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", VCPUS)
def test_a_guest_finds_on_kvm_what_it_finds_elsewhere(pv_guests: GuestBuilder, name: str) -> None:
    with PvGuestDomain(
        pv_guests.build(name), vcpus=VCPUS[name], domid=7, engine=EngineChoice.KVM
    ) as domain:
        domain.wait_success(PATIENCE)
        domain.call(lambda: check_invariants(domain.domain))


def test_random_hypercalls_do_no_harm(pv_guests: GuestBuilder) -> None:
    options = "seed=3 iterations=2000"
    with PvGuestDomain(
        pv_guests.build("faults/fuzz"), cmdline=options, vcpus=2, engine=EngineChoice.KVM
    ) as domain:
        domain.wait_success(PATIENCE)
        domain.call(lambda: check_invariants(domain.domain))
