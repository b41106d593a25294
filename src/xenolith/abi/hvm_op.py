"""The hvm_op hypercall.

Mirrors what a guest itself may call of public/hvm/hvm_op.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import U8, U16, U32, U64, Layout

HEADER = "hvm/hvm_op.h"


@c_constants("HVMOP_")
class HvmOp(IntEnum):
    """First argument of hvm_op."""

    set_param = 0
    get_param = 1
    flush_tlbs = 5
    pagetable_dying = 9
    get_time = 10
    xentrace = 11
    get_mem_type = 15
    set_evtchn_upcall_vector = 23
    guest_request_vm_event = 24
    altp2m = 25


@c_constants("HVMMEM_")
class HvmMemType(IntEnum):
    """The type of a guest frame as get_mem_type reports it."""

    ram_rw = 0
    ram_ro = 1
    mmio_dm = 2
    unused = 3
    ioreq_server = 4


class XenHvmParam(NamedTuple):
    """One parameter (hvm_params.HvmParam) and its value."""

    domid: U16
    pad: U16
    index_: U32
    value: U64


XEN_HVM_PARAM = Layout(XenHvmParam, "struct xen_hvm_param", HEADER, {"index_": "index"})


class XenHvmPagetableDying(NamedTuple):
    """A hint that the page table at ``gpa`` is about to go."""

    domid: U16
    pad: Annotated[bytes, "6s"]
    gpa: U64


XEN_HVM_PAGETABLE_DYING = Layout(XenHvmPagetableDying, "struct xen_hvm_pagetable_dying", HEADER)


class XenHvmGetTime(NamedTuple):
    """The system time in ns."""

    now: U64


XEN_HVM_GET_TIME = Layout(XenHvmGetTime, "struct xen_hvm_get_time", HEADER)


class XenHvmGetMemType(NamedTuple):
    """The type (HvmMemType) of guest frame ``pfn``."""

    domid: U16
    mem_type: U16
    pad: Annotated[bytes, "4s"]
    pfn: U64


XEN_HVM_GET_MEM_TYPE = Layout(XenHvmGetMemType, "struct xen_hvm_get_mem_type", HEADER)


class XenHvmEvtchnUpcallVector(NamedTuple):
    """The LAPIC vector by which ``vcpu`` gets its event upcalls."""

    vcpu: U32
    vector: U8


XEN_HVM_EVTCHN_UPCALL_VECTOR = Layout(
    XenHvmEvtchnUpcallVector, "struct xen_hvm_evtchn_upcall_vector", HEADER
)
