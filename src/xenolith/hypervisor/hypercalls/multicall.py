"""multicall: several hypercalls in one (struct multicall_entry of public/xen.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno
from xenolith.abi.xen import MULTICALL_ENTRY, Hypercall
from xenolith.hypervisor.guest_access import Continuation, read_struct, write_struct
from xenolith.machine.address import GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.vcpu import Vcpu

_CALLS_AT_ONCE = 256
_RESULT = MULTICALL_ENTRY.offsets["result"]
_MASK = (1 << 64) - 1
_LOW32 = 0xFFFFFFFF


def multicall(vcpu: Vcpu, calls: int, count: int, _a3: int, _a4: int, _a5: int) -> int:
    """multicall(call_list, nr_calls): in order; each entry gets its own result."""
    from xenolith.hypervisor.hypercalls.dispatch import call  # noqa: PLC0415 - the table holds us

    count &= _LOW32
    for index in range(count):
        address = calls + index * MULTICALL_ENTRY.size
        if index == _CALLS_AT_ONCE or (index and vcpu.domain.scheduler.wants_exit):
            raise Continuation(address, count - index)
        entry = read_struct(vcpu.paging, MULTICALL_ENTRY, GuestVirt(address))
        try:
            nested = entry.op == Hypercall.multicall
            result = -Errno.EINVAL if nested else call(vcpu, entry.op, entry.args[:5])
        except Continuation as rest:
            # The entry itself is rewritten to what is left of it, and the batch goes on from there.
            arguments = [argument & _MASK for argument in rest.arguments]
            left = entry._replace(args=(*arguments, *entry.args[len(arguments) :]))
            write_struct(vcpu.paging, MULTICALL_ENTRY, GuestVirt(address), left)
            raise Continuation(address, count - index) from None
        vcpu.paging.copy_to(GuestVirt(address + _RESULT), (result & _MASK).to_bytes(8, "little"))
    return 0
