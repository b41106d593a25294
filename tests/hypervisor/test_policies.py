"""What CPUID and RDMSR tell a guest, and what WRMSR lets it do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_domain import DOMID, SmallDomain

from xenolith.abi.xen import Hypercall
from xenolith.engine.hvm import GuestException, Vector
from xenolith.hypervisor.hvm.cpu_policy import HYPERCALL_MSR, CpuPolicy
from xenolith.hypervisor.hvm.msr_policy import MsrPolicy
from xenolith.hypervisor.pv.cpu_policy import PvCpuPolicy
from xenolith.hypervisor.release import XEN_MAJOR, XEN_MINOR
from xenolith.machine.address import PAGE_SIZE

ONES = 0xFFFFFFFF
LEAVES = st.one_of(
    st.integers(0, 0x20),
    st.integers(0x3FFFFFFF, 0x40000010),
    st.integers(0x80000000, 0x80000020),
    st.integers(0, ONES),
)


def everything(_leaf: int, _subleaf: int) -> tuple[int, int, int, int]:
    """A processor that has all that there is."""
    return ONES, ONES, ONES, ONES


@pytest.fixture
def small() -> Iterator[SmallDomain]:
    domain = SmallDomain(vcpus=2)
    yield domain
    domain.close()


@settings(max_examples=300)
@given(LEAVES, st.integers(0, ONES), st.integers(0, 255))
def test_every_leaf_is_four_words(leaf: int, subleaf: int, vcpu_id: int) -> None:
    policy = CpuPolicy(everything, DOMID, vcpu_id, 256, 2_000_000)
    for word in policy.cpuid(leaf, subleaf):
        assert 0 <= word <= ONES


def test_an_apic_id_beyond_8_bits_shows_its_low_bits() -> None:
    policy = CpuPolicy(everything, DOMID, 130, 131, 2_000_000)
    assert policy.cpuid(1, 0)[1] <= ONES
    assert policy.cpuid(1, 0)[1] >> 24 == 260 & 0xFF


def test_no_leaf_is_beyond_the_highest() -> None:
    policy = CpuPolicy(everything, DOMID, 0, 1, 2_000_000)
    for first, last in ((0, 0x3FFFFFFF), (0x80000000, ONES), (0x40000000, 0x400000FF)):
        highest = policy.cpuid(first, 0)[0]
        for leaf in range(highest + 1, min(highest + 40, last)):
            assert policy.cpuid(leaf, 0) == (0, 0, 0, 0)


def test_features_that_the_emulator_lacks_are_hidden() -> None:
    policy = CpuPolicy(everything, DOMID, 0, 1, 2_000_000)
    _, _, ecx, edx = policy.cpuid(1, 0)
    hidden_ecx = {
        "MONITOR": 3,
        "PCID": 17,
        "TSC deadline": 24,
        "XSAVE": 26,
        "OSXSAVE": 27,
        "AVX": 28,
    }
    assert not [name for name, bit in hidden_ecx.items() if ecx >> bit & 1]
    assert not [
        name for name, bit in {"MCE": 7, "SEP": 11, "MTRR": 12, "MCA": 14}.items() if edx >> bit & 1
    ]
    assert not [
        n for n, bit in {"AVX2": 5, "INVPCID": 10}.items() if policy.cpuid(7, 0)[1] >> bit & 1
    ]
    assert not policy.cpuid(0x80000001, 0)[2] >> 2 & 1, "SVM"


def test_features_that_the_hypervisor_adds_are_shown() -> None:
    policy = CpuPolicy(lambda _leaf, _subleaf: (0, 0, 0, 0), DOMID, 0, 1, 2_000_000)
    _, _, ecx, edx = policy.cpuid(1, 0)
    assert ecx >> 31 & 1, "hypervisor"
    assert ecx >> 21 & 1, "x2APIC"
    assert edx >> 9 & 1, "APIC"
    assert policy.cpuid(0x80000007, 0)[3] >> 8 & 1, "invariant TSC"
    assert policy.cpuid(0x80000008, 0)[0] & 0xFFFF == 48 << 8 | 40


def test_xen_s_own_leaves() -> None:
    policy = CpuPolicy(everything, DOMID, 3, 4, 2_400_000)
    highest, *signature = policy.cpuid(0x40000000, 0)
    text = b"".join(word.to_bytes(4, "little") for word in signature)
    assert (highest, text) == (0x40000005, b"XenVMMXenVMM")
    assert policy.cpuid(0x40000001, 0)[0] == XEN_MAJOR << 16 | XEN_MINOR
    assert policy.cpuid(0x40000002, 0)[:2] == (1, HYPERCALL_MSR)
    assert policy.cpuid(0x40000003, 0)[2] == 2_400_000
    assert policy.cpuid(0x40000003, 2)[0] == 2_400_000
    flags, vcpu_id, domid, _ = policy.cpuid(0x40000004, 0)
    assert (flags & 1 << 3, vcpu_id) == (1 << 3, 3)
    assert (flags & 1 << 4, domid) == (1 << 4, DOMID)


def test_each_vcpu_has_its_apic_id_and_the_name_is_the_same() -> None:
    for vcpu_id in range(3):
        policy = CpuPolicy(everything, DOMID, vcpu_id, 3, 2_000_000)
        assert policy.cpuid(1, 0)[1] >> 24 == 2 * vcpu_id
        name = b"".join(
            word.to_bytes(4, "little")
            for leaf in (0x80000002, 0x80000003, 0x80000004)
            for word in policy.cpuid(leaf, 0)
        )
        assert name.rstrip(b"\0") == b"Xenolith Virtual Processor"


def msrs_of(small: SmallDomain) -> MsrPolicy:
    domain = small.domain
    engine_vcpu = domain.vcpus[0].engine_vcpu
    return MsrPolicy(engine_vcpu, domain.lapics[0], domain.engine.tsc, domain.write_hypercall_page)


FEATURES_WITH_MSRS = {
    "PDCM": (1, 0, 2, 15, 0x345),
    "TSC_ADJUST": (7, 0, 1, 1, 0x3B),
    "SGX": (7, 0, 1, 2, 0x3A),
    "PROC_TRACE": (7, 0, 1, 25, 0x570),
    "WAITPKG": (7, 0, 2, 5, 0xE1),
    "CET_SS": (7, 0, 2, 7, 0x6A2),
    "SGX_LC": (7, 0, 2, 30, 0x8C),
    "PKS": (7, 0, 2, 31, 0x6E1),
    "SRBDS_CTRL": (7, 0, 3, 9, 0x123),
    "TSX_FORCE_ABORT": (7, 0, 3, 13, 0x10F),
    "ARCH_LBR": (7, 0, 3, 19, 0x14CE),
    "CET_IBT": (7, 0, 3, 20, 0x6A2),
    "IBRSB": (7, 0, 3, 26, 0x48),
    "STIBP": (7, 0, 3, 27, 0x48),
    "L1D_FLUSH": (7, 0, 3, 28, 0x10B),
    "ARCH_CAPS": (7, 0, 3, 29, 0x10A),
    "CORE_CAPS": (7, 0, 3, 30, 0xCF),
    "SSBD": (7, 0, 3, 31, 0x48),
    "BHI_CTRL": (7, 2, 3, 4, 0x48),
}
"""By name: leaf, subleaf, which of EAX to EDX, the bit, and a register that comes with it."""


@pytest.mark.parametrize("name", FEATURES_WITH_MSRS)
def test_a_feature_is_shown_only_with_its_registers(small: SmallDomain, name: str) -> None:
    leaf, subleaf, word, bit, msr = FEATURES_WITH_MSRS[name]
    for policy in (
        CpuPolicy(everything, DOMID, 0, 1, 2_000_000),
        PvCpuPolicy(everything, 0, 1, 2_000_000, 7),
    ):
        assert not policy.cpuid(leaf, subleaf)[word] >> bit & 1
    with pytest.raises(GuestException):
        msrs_of(small).read(msr)


@pytest.mark.parametrize("msr", [0x1D9, 0x1DB, 0x1DC, 0x1DD, 0x1DE])
def test_the_last_branch_is_never_recorded(small: SmallDomain, msr: int) -> None:
    msrs = msrs_of(small)
    msrs.write(msr, ONES)
    assert msrs.read(msr) == 0


def test_a_feature_that_is_a_bit_of_debugctl_is_hidden() -> None:
    bus_lock_detect = 1 << 24
    assert not CpuPolicy(everything, DOMID, 0, 1, 2_000_000).cpuid(7, 0)[2] & bus_lock_detect
    assert not PvCpuPolicy(everything, 0, 1, 2_000_000, 7).cpuid(7, 0)[2] & bus_lock_detect


def test_cpuid_faulting_is_there_where_the_engine_can_have_it(small: SmallDomain) -> None:
    msrs = msrs_of(small)
    assert msrs.read(0xCE) == 1 << 31
    assert msrs.read(0x140) == 0
    msrs.write(0x140, 1)
    assert msrs.read(0x140) == 1
    with pytest.raises(GuestException):
        msrs.write(0x140, 2)
    msrs.write(0x140, 0)
    small.domain.vcpus[0].engine_vcpu.faults_cpuid = None
    for msr in (0xCE, 0x140):
        with pytest.raises(GuestException):
            msrs.read(msr)
        with pytest.raises(GuestException):
            msrs.write(msr, 0)


def test_the_tsc_runs(small: SmallDomain) -> None:
    msrs = msrs_of(small)
    first = msrs.read(0x10)
    assert msrs.read(0x10) > first
    msrs.write(0x10, 0)
    assert msrs.read(0x10) > first


def test_a_page_of_hypercalls_is_written_where_the_guest_wants_it(small: SmallDomain) -> None:
    msrs = msrs_of(small)
    msrs.write(HYPERCALL_MSR, 0x30000)
    page = small.read(0x30000, PAGE_SIZE)
    number = Hypercall.sched_op
    stub = page[32 * number : 32 * number + 9]
    assert stub == b"\xb8" + number.to_bytes(4, "little") + b"\x0f\x01\xd9\xc3"
    assert page[32 * Hypercall.iret :][:2] == b"\x0f\x0b"
    assert msrs.read(HYPERCALL_MSR) == 0


@pytest.mark.parametrize("value", [0x30001, 1 << 40, (1 << 64) - PAGE_SIZE, 5000 * PAGE_SIZE])
def test_where_no_page_of_hypercalls_can_be(small: SmallDomain, value: int) -> None:
    with pytest.raises(GuestException) as caught:
        msrs_of(small).write(HYPERCALL_MSR, value)
    assert caught.value.vector == Vector.GP


@settings(max_examples=300)
@given(
    st.one_of(
        st.integers(0, 0x1000), st.integers(0x40000000, 0x40000100),
        st.integers(0xC0000000, 0xC0002000), st.integers(0xC0010000, 0xC0011100),
        st.integers(0, ONES),
    ),
    st.one_of(st.integers(0, (1 << 64) - 1), st.integers(0, 0xFFFFF)),
)  # fmt: skip
def test_no_msr_does_harm(msr: int, value: int) -> None:
    msrs = msrs_of(SHARED)
    for access in (lambda: msrs.write(msr, value), lambda: msrs.read(msr)):
        try:
            result = access()
        except GuestException as fault:
            assert (fault.vector, fault.error_code) == (Vector.GP, 0)
        else:
            assert result is None or 0 <= result < 1 << 64


@pytest.mark.parametrize("msr", [0x8B, 0x1A0, 0xFE, 0x2FF, 0xC0010015])
def test_some_read_as_constants_and_ignore_writes(small: SmallDomain, msr: int) -> None:
    msrs = msrs_of(small)
    before = msrs.read(msr)
    msrs.write(msr, ~before & (1 << 64) - 1)
    assert msrs.read(msr) == before


SHARED = SmallDomain()
