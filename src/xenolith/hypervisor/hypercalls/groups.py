"""The hypercalls whose work is done by a table of the domain: event channels and grants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.hypervisor.event_channel import event_channel_op
from xenolith.hypervisor.grant_table import grant_table_op
from xenolith.machine.address import GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.vcpu import Vcpu


def event_channel(vcpu: Vcpu, cmd: int, argument: int, _a3: int, _a4: int, _a5: int) -> int:
    """event_channel_op(cmd, arg)."""
    return event_channel_op(vcpu.domain.event_channels, vcpu.paging, cmd, GuestVirt(argument))


def grant_table(vcpu: Vcpu, cmd: int, argument: int, count: int, _a4: int, _a5: int) -> int:
    """grant_table_op(cmd, args, count)."""
    return grant_table_op(vcpu.domain.grants, vcpu.paging, cmd, GuestVirt(argument), count)
