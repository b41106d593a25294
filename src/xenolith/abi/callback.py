"""The callback_op hypercall: where events and other asynchronous things enter a PV guest's kernel.

Mirrors public/callback.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import U16, U64, Layout

HEADER = "callback.h"


@c_constants("CALLBACKOP_")
class CallbackOp(IntEnum):
    """First argument of callback_op."""

    register = 0
    unregister = 1


@c_constants("CALLBACKTYPE_")
class CallbackType(IntEnum):
    """What a callback is for."""

    event = 0
    failsafe = 1
    syscall = 2
    sysenter_deprecated = 3
    nmi = 4
    sysenter = 5
    syscall32 = 7


CALLBACKF_mask_events = 1 << 0


class CallbackRegister(NamedTuple):
    """Have ``address`` entered for a CallbackType."""

    type: U16
    flags: U16
    address: U64


CALLBACK_REGISTER = Layout(CallbackRegister, "struct callback_register", HEADER)


class CallbackUnregister(NamedTuple):
    """Have nothing entered for a CallbackType any more."""

    type: U16
    pad: U16


CALLBACK_UNREGISTER = Layout(CallbackUnregister, "struct callback_unregister", HEADER)
