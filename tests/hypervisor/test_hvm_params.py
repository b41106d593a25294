"""Which HVM parameters a guest may get and set (Xen's hvm_allow_get_param() and hvm_allow_set_param())."""

from __future__ import annotations

import pytest

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.hvm_params import HvmParam
from xenolith.abi.sched import ShutdownReason
from xenolith.hypervisor.hvm.params import HvmParams

READABLE = {
    HvmParam.CALLBACK_IRQ,
    HvmParam.STORE_PFN,
    HvmParam.STORE_EVTCHN,
    HvmParam.CONSOLE_PFN,
    HvmParam.CONSOLE_EVTCHN,
    HvmParam.VM86_TSS,
    HvmParam.VM86_TSS_SIZED,
    HvmParam.ACPI_IOPORTS_LOCATION,
    HvmParam.VM_GENERATION_ID_ADDR,
    HvmParam.X87_FIP_WIDTH,
    HvmParam.ALTP2M,
}
WRITABLE = {
    HvmParam.CALLBACK_IRQ,
    HvmParam.STORE_EVTCHN,
    HvmParam.CONSOLE_EVTCHN,
    HvmParam.VM86_TSS,
    HvmParam.VM86_TSS_SIZED,
    HvmParam.ACPI_IOPORTS_LOCATION,
    HvmParam.VM_GENERATION_ID_ADDR,
    HvmParam.X87_FIP_WIDTH,
}
DEPRECATED = {
    HvmParam.PAE_ENABLED,
    HvmParam.DM_DOMAIN,
    HvmParam.NESTEDHVM,
    HvmParam.BUFIOREQ_EVTCHN,
    *(index for index in HvmParam if index.name.startswith("MEMORY_EVENT_")),
}


def refusal(index: int) -> Errno:
    return Errno.EINVAL if index in DEPRECATED or index > max(HvmParam) else Errno.EPERM


def new_params() -> tuple[HvmParams, list[int]]:
    vectors: list[int] = []
    return HvmParams(vectors.append), vectors


@pytest.mark.parametrize("index", sorted(HvmParam))
def test_who_may_read(index: HvmParam) -> None:
    params, _ = new_params()
    params.set(index, 3)
    if index in READABLE:
        assert params.get_by_guest(index) == 3
        return
    with pytest.raises(XenError) as caught:
        params.get_by_guest(index)
    assert caught.value.errno == refusal(index)


@pytest.mark.parametrize("index", sorted(HvmParam))
def test_who_may_write(index: HvmParam) -> None:
    params, _ = new_params()
    before = params.get(index)
    if index in WRITABLE:
        params.set_by_guest(index, 3)
        assert params.get(index) == 3
        return
    with pytest.raises(XenError) as caught:
        params.set_by_guest(index, 3)
    assert caught.value.errno == refusal(index)
    assert params.get(index) == before


@pytest.mark.parametrize("index", [3, 7, max(HvmParam) + 1, 1 << 31, 0xFFFFFFFF])
def test_there_are_no_others(index: int) -> None:
    params, _ = new_params()
    for attempt in (lambda: params.get_by_guest(index), lambda: params.set_by_guest(index, 1)):
        with pytest.raises(XenError) as caught:
            attempt()
        assert caught.value.errno == refusal(index)


def test_an_upcall_vector_is_told_and_any_other_way_means_none() -> None:
    params, vectors = new_params()
    params.set_by_guest(HvmParam.CALLBACK_IRQ, 2 << 56 | 0xF3)
    params.set_by_guest(HvmParam.CALLBACK_IRQ, 1 << 56 | 0xF3)
    params.set_by_guest(HvmParam.CALLBACK_IRQ, 2 << 56 | 0xABCD31)
    params.set_by_guest(HvmParam.CALLBACK_IRQ, 0)
    assert vectors == [0xF3, 0, 0x31, 0]


def test_a_triple_fault_reboots_unless_the_toolstack_says_otherwise() -> None:
    params, _ = new_params()
    assert params.get(HvmParam.TRIPLE_FAULT_REASON) == ShutdownReason.reboot
    params.set(HvmParam.TRIPLE_FAULT_REASON, ShutdownReason.crash)
    assert params.get(HvmParam.TRIPLE_FAULT_REASON) == ShutdownReason.crash
    with pytest.raises(XenError):
        params.set(HvmParam.TRIPLE_FAULT_REASON, 1000)
