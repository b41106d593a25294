"""The parameters of an HVM domain, read and written by hvm_op get_param and set_param.

Mirrors public/hvm/params.h.
"""

from __future__ import annotations

from enum import IntEnum

from xenolith.abi.constants import c_constants

HEADER = "hvm/params.h"


@c_constants("HVM_PARAM_")
class HvmParam(IntEnum):
    """Parameter indices."""

    CALLBACK_IRQ = 0
    STORE_PFN = 1
    STORE_EVTCHN = 2
    PAE_ENABLED = 4
    IOREQ_PFN = 5
    BUFIOREQ_PFN = 6
    VIRIDIAN = 9
    TIMER_MODE = 10
    HPET_ENABLED = 11
    IDENT_PT = 12
    DM_DOMAIN = 13
    ACPI_S_STATE = 14
    VM86_TSS = 15
    VPT_ALIGN = 16
    CONSOLE_PFN = 17
    CONSOLE_EVTCHN = 18
    ACPI_IOPORTS_LOCATION = 19
    MEMORY_EVENT_CR0 = 20
    MEMORY_EVENT_CR3 = 21
    MEMORY_EVENT_CR4 = 22
    MEMORY_EVENT_INT3 = 23
    NESTEDHVM = 24
    MEMORY_EVENT_SINGLE_STEP = 25
    BUFIOREQ_EVTCHN = 26
    PAGING_RING_PFN = 27
    MONITOR_RING_PFN = 28
    SHARING_RING_PFN = 29
    MEMORY_EVENT_MSR = 30
    TRIPLE_FAULT_REASON = 31
    IOREQ_SERVER_PFN = 32
    NR_IOREQ_SERVER_PAGES = 33
    VM_GENERATION_ID_ADDR = 34
    ALTP2M = 35
    X87_FIP_WIDTH = 36
    VM86_TSS_SIZED = 37
    MCA_CAP = 38


HVM_NR_PARAMS = 39

HVM_PARAM_CALLBACK_IRQ_TYPE_MASK = 0xFF00_0000_0000_0000


@c_constants("HVM_PARAM_CALLBACK_TYPE_")
class CallbackType(IntEnum):
    """The top byte of CALLBACK_IRQ: how event upcalls reach the guest."""

    GSI = 0
    PCI_INTX = 1
    VECTOR = 2


@c_constants("HVMPTM_")
class TimerMode(IntEnum):
    """Values of TIMER_MODE: what becomes of ticks that a vCPU missed."""

    delay_for_missed_ticks = 0
    no_delay_for_missed_ticks = 1
    no_missed_ticks_pending = 2
    one_missed_tick_pending = 3
