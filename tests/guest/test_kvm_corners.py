"""Xen's ABI as a guest on KVM sees it: the guests of test_corners.py, as far as any host's KVM gets through them.

Where KVM emulates ring 0 it lacks some instructions, and looks for interrupts now and then only, which the others
do not forgive.
"""

from __future__ import annotations

import pytest

from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm.device import KvmDevice
from xenolith.engine.kvm.vcpu import HYPERCALL_INSTRUCTION
from xenolith.toolstack.config import EngineChoice

from .build import GuestBuilder
from .harness import GuestDomain

pytestmark = pytest.mark.guest

MEMORY = 32

VCPUS = {
    "cpuid": 1,
    "grants": 1,
    "hello": 1,
    "hypercall_page": 1,
    "ipi": 2,
    "memory_map": 1,
    "multicall": 1,
    "nmi": 2,
    "pending_together": 1,
    "poll": 2,
    "self_modifying": 1,
    "shared_info": 1,
    "sipi_ignored": 2,
    "smp_start": 4,
    "timers": 1,
    "version": 1,
}


@pytest.fixture(scope="module")
def kvm_guests(tmp_path_factory: pytest.TempPathFactory) -> GuestBuilder:
    """Guests that make hypercalls as the engine has them in the hypercall page."""
    try:
        KvmDevice.open()
    except EngineError as error:
        pytest.skip(str(error))
    code = ", ".join(f"{byte:#x}" for byte in HYPERCALL_INSTRUCTION)
    directory = tmp_path_factory.mktemp("kvm-guests")
    return GuestBuilder(directory, f'-DHYPERCALL_INSTRUCTION=".byte {code}"')


@pytest.mark.parametrize("name", VCPUS)
def test_corner(kvm_guests: GuestBuilder, name: str) -> None:
    kernel = kvm_guests.build(f"corners/{name}")
    options = f"domid=7 memory={MEMORY} answer=0x2a"
    with GuestDomain(
        kernel,
        vcpus=VCPUS[name],
        memory=MEMORY,
        cmdline=options,
        domid=7,
        engine=EngineChoice.KVM,
    ) as domain:
        domain.wait_success(10)
