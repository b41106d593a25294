"""multicall: several hypercalls in one (struct multicall_entry of public/xen.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno
from xenolith.abi.xen import MULTICALL_ENTRY, Hypercall
from xenolith.hypervisor.guest_access import (
    UINT,
    Continuation,
    layout_of,
    read_struct,
    write_struct,
    write_words,
)
from xenolith.machine.address import GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.vcpu import Vcpu

_CALLS_AT_ONCE = 256


def multicall(vcpu: Vcpu, calls: int, count: int, _a3: int, _a4: int, _a5: int) -> int:
    """multicall(call_list, nr_calls): in order; each entry gets its own result."""
    from xenolith.hypervisor.hypercalls.dispatch import call  # noqa: PLC0415 - the table holds us

    count &= UINT
    paging = vcpu.paging
    layout = layout_of(paging, MULTICALL_ENTRY)
    result_at = layout.offsets["result"]
    mask = (1 << 8 * paging.word) - 1
    for index in range(count):
        address = calls + index * layout.size
        if index == _CALLS_AT_ONCE or (index and vcpu.domain.scheduler.wants_exit):
            raise Continuation(address, count - index)
        entry = read_struct(paging, MULTICALL_ENTRY, GuestVirt(address))
        try:
            nested = entry.op == Hypercall.multicall
            result = -Errno.EINVAL if nested else call(vcpu, entry.op, entry.args[:5])
        except Continuation as rest:
            if rest.number is not None:
                raise
            # The entry itself is rewritten to what is left of it, and the batch goes on from there.
            arguments = [argument & mask for argument in rest.arguments]
            left = entry._replace(args=(*arguments, *entry.args[len(arguments) :]))
            write_struct(paging, MULTICALL_ENTRY, GuestVirt(address), left)
            raise Continuation(address, count - index) from None
        write_words(paging, address + result_at, [result])
    return 0
