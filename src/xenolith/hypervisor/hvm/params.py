"""The parameters of an HVM domain (public/hvm/params.h): which a guest may read and set, and what they do."""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.hvm_params import HVM_NR_PARAMS, CallbackType, HvmParam
from xenolith.abi.sched import SHUTDOWN_MAX, ShutdownReason

_WRITABLE = frozenset(
    {
        HvmParam.CALLBACK_IRQ,
        HvmParam.STORE_EVTCHN,
        HvmParam.CONSOLE_EVTCHN,
        HvmParam.VM86_TSS,
        HvmParam.VM86_TSS_SIZED,
        HvmParam.ACPI_IOPORTS_LOCATION,
        HvmParam.VM_GENERATION_ID_ADDR,
        HvmParam.X87_FIP_WIDTH,
    }
)
_READABLE = _WRITABLE | {HvmParam.STORE_PFN, HvmParam.CONSOLE_PFN, HvmParam.ALTP2M}
_DEPRECATED = frozenset(
    {
        HvmParam.PAE_ENABLED,
        HvmParam.DM_DOMAIN,
        HvmParam.MEMORY_EVENT_CR0,
        HvmParam.MEMORY_EVENT_CR3,
        HvmParam.MEMORY_EVENT_CR4,
        HvmParam.MEMORY_EVENT_INT3,
        HvmParam.NESTEDHVM,
        HvmParam.MEMORY_EVENT_SINGLE_STEP,
        HvmParam.BUFIOREQ_EVTCHN,
        HvmParam.MEMORY_EVENT_MSR,
    }
)
_TYPE_SHIFT = 56


class HvmParams:
    """The parameters by index; ``on_callback_vector`` hears where upcalls go, 0 for nowhere."""

    def __init__(self, on_callback_vector: Callable[[int], None]) -> None:
        self._values: dict[int, int] = {HvmParam.TRIPLE_FAULT_REASON: ShutdownReason.reboot}
        self._on_callback_vector = on_callback_vector

    def set(self, index: HvmParam, value: int) -> None:
        """Set a parameter; the toolstack's way."""
        if index == HvmParam.TRIPLE_FAULT_REASON and value > SHUTDOWN_MAX:
            raise XenError(Errno.EINVAL, f"shutdown reason {value}")
        self._values[index] = value
        if index == HvmParam.CALLBACK_IRQ:
            is_vector = value >> _TYPE_SHIFT == CallbackType.VECTOR
            self._on_callback_vector(value & 0xFF if is_vector else 0)

    def get(self, index: HvmParam) -> int:
        """A parameter's value, 0 if it was never set."""
        return self._values.get(index, 0)

    def set_by_guest(self, index: int, value: int) -> None:
        """HVMOP_set_param by the domain itself; XenError as Xen's hvm_allow_set_param()."""
        self._check(index, _WRITABLE)
        self.set(HvmParam(index), value)

    def get_by_guest(self, index: int) -> int:
        """HVMOP_get_param by the domain itself."""
        self._check(index, _READABLE)
        return self.get(HvmParam(index))

    @staticmethod
    def _check(index: int, allowed: frozenset[HvmParam]) -> None:
        if index >= HVM_NR_PARAMS or index in _DEPRECATED:
            raise XenError(Errno.EINVAL, f"HVM parameter {index}")
        if index not in allowed:
            raise XenError(Errno.EPERM, f"HVM parameter {index}")
