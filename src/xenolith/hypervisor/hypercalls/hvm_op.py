"""hvm_op: parameters and upcall vectors of an HVM domain (public/hvm/hvm_op.h, public/hvm/params.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.hvm_op import (
    XEN_HVM_EVTCHN_UPCALL_VECTOR,
    XEN_HVM_GET_MEM_TYPE,
    XEN_HVM_GET_TIME,
    XEN_HVM_PARAM,
    HvmMemType,
    HvmOp,
    XenHvmGetTime,
)
from xenolith.abi.hvm_params import HvmParam
from xenolith.abi.xen import DOMID_SELF
from xenolith.hypervisor.guest_access import read_struct, write_struct
from xenolith.machine.address import GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.hvm.vcpu import HvmVcpu

_FIRST_UPCALL_VECTOR = 16


def hvm_op(vcpu: HvmVcpu, cmd: int, argument: int, _a3: int, _a4: int, _a5: int) -> int:
    """hvm_op(cmd, arg)."""
    address = GuestVirt(argument)
    match cmd:
        case HvmOp.set_param:
            asked = read_struct(vcpu.paging, XEN_HVM_PARAM, address)
            _check_self(vcpu, asked.domid)
            vcpu.domain.params.set_by_guest(asked.index_, asked.value)
            if asked.index_ == HvmParam.CALLBACK_IRQ:
                vcpu.latch_word()
        case HvmOp.get_param:
            asked = read_struct(vcpu.paging, XEN_HVM_PARAM, address)
            _check_self(vcpu, asked.domid)
            value = vcpu.domain.params.get_by_guest(asked.index_)
            write_struct(vcpu.paging, XEN_HVM_PARAM, address, asked._replace(value=value))
        case HvmOp.set_evtchn_upcall_vector:
            _set_upcall_vector(vcpu, address)
        case HvmOp.flush_tlbs:
            if argument:
                raise XenError(Errno.EINVAL, "flush_tlbs takes no argument")
        case HvmOp.get_time:
            now = XenHvmGetTime(vcpu.domain.clock.now())
            write_struct(vcpu.paging, XEN_HVM_GET_TIME, address, now)
        case HvmOp.get_mem_type:
            asked_type = read_struct(vcpu.paging, XEN_HVM_GET_MEM_TYPE, address)
            _check_self(vcpu, asked_type.domid)
            present = vcpu.domain.p2m.lookup(asked_type.pfn) is not None
            kind = HvmMemType.ram_rw if present else HvmMemType.mmio_dm
            write_struct(
                vcpu.paging, XEN_HVM_GET_MEM_TYPE, address, asked_type._replace(mem_type=kind)
            )
        case _:
            raise XenError(Errno.ENOSYS, f"HVM operation {cmd}")
    return 0


def _check_self(vcpu: HvmVcpu, domid: int) -> None:
    if domid not in (DOMID_SELF, vcpu.domain.domid):
        raise XenError(Errno.EPERM, f"HVM operation on domain {domid}")


def _set_upcall_vector(vcpu: HvmVcpu, address: GuestVirt) -> None:
    asked = read_struct(vcpu.paging, XEN_HVM_EVTCHN_UPCALL_VECTOR, address)
    if asked.vector < _FIRST_UPCALL_VECTOR:
        raise XenError(Errno.EINVAL, f"upcall vector {asked.vector}")
    if asked.vcpu >= len(vcpu.domain.vcpus):
        raise XenError(Errno.ENOENT, f"there is no vCPU {asked.vcpu}")
    vcpu.domain.vcpus[asked.vcpu].use_upcall_vector(asked.vector)
