"""The register state with which vcpu_op initialise starts an HVM vCPU.

Mirrors public/hvm/hvm_vcpu.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import U16, U32, U64, Layout

HEADER = "hvm/hvm_vcpu.h"


@c_constants("VCPU_HVM_MODE_")
class VcpuHvmMode(IntEnum):
    """Which of the two register sets a context holds."""

    _32B = 0
    _64B = 1


class VcpuHvmX86_32(NamedTuple):  # noqa: N801 - the C name
    """Registers of a vCPU that starts in a 32-bit mode; ``*_ar`` as in a descriptor."""

    eax: U32
    ecx: U32
    edx: U32
    ebx: U32
    esp: U32
    ebp: U32
    esi: U32
    edi: U32
    eip: U32
    eflags: U32
    cr0: U32
    cr3: U32
    cr4: U32
    pad1: U32
    efer: U64
    cs_base: U32
    ds_base: U32
    ss_base: U32
    es_base: U32
    tr_base: U32
    cs_limit: U32
    ds_limit: U32
    ss_limit: U32
    es_limit: U32
    tr_limit: U32
    cs_ar: U16
    ds_ar: U16
    ss_ar: U16
    es_ar: U16
    tr_ar: U16


VCPU_HVM_X86_32 = Layout(VcpuHvmX86_32, "struct vcpu_hvm_x86_32", HEADER)


class VcpuHvmX86_64(NamedTuple):  # noqa: N801 - the C name
    """Registers of a vCPU that starts in long mode with flat segments."""

    rax: U64
    rcx: U64
    rdx: U64
    rbx: U64
    rsp: U64
    rbp: U64
    rsi: U64
    rdi: U64
    rip: U64
    rflags: U64
    cr0: U64
    cr3: U64
    cr4: U64
    efer: U64


VCPU_HVM_X86_64 = Layout(VcpuHvmX86_64, "struct vcpu_hvm_x86_64", HEADER)


class VcpuHvmContext(NamedTuple):
    """A mode and the register set of that mode, to be unpacked with its layout."""

    mode: U32
    pad: U32
    cpu_regs: Annotated[bytes, "120s"]


VCPU_HVM_CONTEXT = Layout(VcpuHvmContext, "struct vcpu_hvm_context", HEADER)
