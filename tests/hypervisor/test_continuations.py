"""Hypercalls that are made again: console_io and multicall of every length, and the dispatcher itself."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest
from small_domain import ARGUMENT, DATA, LIST, SmallDomain

from xenolith.abi.errno import Errno
from xenolith.abi.memory import XEN_MEMORY_RESERVATION, MemoryOp, XenMemoryReservation
from xenolith.abi.sched import SchedOp
from xenolith.abi.version import VersionOp
from xenolith.abi.xen import (
    DOMID_SELF,
    MULTICALL_ENTRY,
    ConsoleIoOp,
    Hypercall,
    MulticallEntry,
)
from xenolith.hypervisor.hypercalls.dispatch import call, dispatch
from xenolith.hypervisor.release import XEN_MAJOR, XEN_MINOR
from xenolith.machine.address import PAGE_SIZE

CALLS = 0x100000
TEXT = 0x140000
VERSION = XEN_MAJOR << 16 | XEN_MINOR
LAST_PAGE = (1 << 64) - PAGE_SIZE
MASK = (1 << 64) - 1


@pytest.fixture
def small() -> Iterator[SmallDomain]:
    domain = SmallDomain()
    yield domain
    domain.close()


def write_calls(small: SmallDomain, calls: list[tuple[int, ...]]) -> None:
    for number, (op, *arguments) in enumerate(calls):
        padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
        entry = MulticallEntry(op, 0x5EED, padded)
        small.write_struct(MULTICALL_ENTRY, entry, CALLS + number * MULTICALL_ENTRY.size)


def results(small: SmallDomain, count: int) -> list[int]:
    """Signed, in order."""
    raw = [
        small.read_struct(MULTICALL_ENTRY, CALLS + n * MULTICALL_ENTRY.size).result
        for n in range(count)
    ]
    return [value - (1 << 64) if value >> 63 else value for value in raw]


class TestConsoleIo:
    @pytest.mark.parametrize(
        ("count", "continuations"), [(0, 0), (1, 0), (4096, 0), (4097, 1), (10_000, 2)]
    )
    def test_text_of_every_length_arrives_once(
        self, small: SmallDomain, count: int, continuations: int
    ) -> None:
        text = bytes(number % 251 for number in range(count))
        small.write(TEXT, text)
        assert small.counted_hypercall(Hypercall.console_io, ConsoleIoOp.write, count, TEXT) == (
            0,
            continuations,
        )
        assert small.events.output == text

    def test_a_count_has_32_bits(self, small: SmallDomain) -> None:
        small.write(TEXT, b"abc")
        assert small.hypercall(Hypercall.console_io, ConsoleIoOp.write, 7 << 32 | 3, TEXT) == 0
        assert small.events.output == b"abc"

    def test_text_that_is_not_there(self, small: SmallDomain) -> None:
        write = ConsoleIoOp.write
        assert small.hypercall(Hypercall.console_io, write, 5, LAST_PAGE) == -Errno.EFAULT
        assert small.hypercall(Hypercall.console_io, 99, 5, TEXT) == -Errno.ENOSYS
        assert small.hypercall(Hypercall.console_io, ConsoleIoOp.read, 5, TEXT) == 0


class TestMulticall:
    @pytest.mark.parametrize(("count", "continuations"), [(0, 0), (256, 0), (257, 1), (600, 2)])
    def test_batches_of_every_length(
        self, small: SmallDomain, count: int, continuations: int
    ) -> None:
        write_calls(small, [(Hypercall.xen_version, VersionOp.version)] * count)
        assert small.counted_hypercall(Hypercall.multicall, CALLS, count) == (0, continuations)
        assert results(small, count) == [VERSION] * count

    def test_an_error_is_its_own_call_s(self, small: SmallDomain) -> None:
        write_calls(
            small,
            [
                (Hypercall.sched_op, 99),
                (Hypercall.xen_version, VersionOp.version),
                (12345,),
                (Hypercall.multicall, CALLS, 1),
                (Hypercall.xen_version, VersionOp.version),
            ],
        )
        assert small.hypercall(Hypercall.multicall, CALLS, 5) == 0
        assert results(small, 5) == [
            -Errno.ENOSYS, VERSION, -Errno.ENOSYS, -Errno.EINVAL, VERSION,
        ]  # fmt: skip

    def test_a_call_that_is_made_again_goes_on_where_it_was(self, small: SmallDomain) -> None:
        gfns = range(256, 256 + 600)
        small.write(LIST, b"".join(gfn.to_bytes(8, "little") for gfn in gfns))
        small.write_struct(
            XEN_MEMORY_RESERVATION, XenMemoryReservation(LIST, 600, 0, 0, DOMID_SELF), ARGUMENT
        )
        write_calls(
            small,
            [
                (Hypercall.xen_version, VersionOp.version),
                (Hypercall.memory_op, MemoryOp.populate_physmap, ARGUMENT),
                (Hypercall.xen_version, VersionOp.version),
            ],
        )
        assert small.counted_hypercall(Hypercall.multicall, CALLS, 3) == (0, 1)
        assert results(small, 3) == [VERSION, 600, VERSION]

    def test_what_is_left_of_a_call_may_wrap_around(self, small: SmallDomain) -> None:
        """The dispatcher keeps 64 bits of a continuation's arguments; so does a multicall."""
        vcpu = small.domain.vcpus[0]
        real = small.flat.translate

        def translate(address: int, *, write: bool = False) -> int:
            """The last page of the address space is there, too."""
            if address >= LAST_PAGE:
                return DATA + address % PAGE_SIZE
            return real(address, write=write)  # type: ignore[arg-type]

        small.flat.translate = translate  # type: ignore[method-assign]
        write_calls(small, [(Hypercall.console_io, ConsoleIoOp.write, 5000, LAST_PAGE)])
        assert small.hypercall(Hypercall.multicall, CALLS, 1) == 0
        assert len(small.events.output) == 5000
        assert vcpu.paging is small.flat

    def test_a_list_that_is_not_there(self, small: SmallDomain) -> None:
        assert small.hypercall(Hypercall.multicall, LAST_PAGE, 3) == -Errno.EFAULT
        assert small.hypercall(Hypercall.multicall, LAST_PAGE, 1 << 32) == 0


class TestDispatch:
    """By the registers, as a VMMCALL does it."""

    def test_an_answer_comes_back_in_rax(self, small: SmallDomain) -> None:
        registers = small.domain.vcpus[0].registers
        registers.rax, registers.rdi = Hypercall.xen_version, VersionOp.version
        dispatch(small.domain.vcpus[0])
        assert registers.rax == VERSION
        registers.rax = 12345
        dispatch(small.domain.vcpus[0])
        assert registers.rax == -Errno.ENOSYS & MASK

    def test_numbers_that_nobody_serves_cost_no_memory(self, small: SmallDomain) -> None:
        """There are four billion of them, and a guest may try them all."""
        vcpu = small.domain.vcpus[0]
        call(vcpu, 1000, (0, 0, 0, 0, 0))
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for number in range(10_000, 20_000):
                assert call(vcpu, number, (0, 0, 0, 0, 0)) == -Errno.ENOSYS
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 100_000

    def test_a_hypercall_number_has_32_bits(self, small: SmallDomain) -> None:
        registers = small.domain.vcpus[0].registers
        registers.rax, registers.rdi = 5 << 32 | Hypercall.xen_version, VersionOp.version
        dispatch(small.domain.vcpus[0])
        assert registers.rax == VERSION

    @pytest.mark.parametrize("rip", [0x1003, 3, 2, 0])
    def test_a_call_that_is_made_again_is_executed_again(
        self, small: SmallDomain, rip: int
    ) -> None:
        """RIP, behind the VMMCALL by now, goes back onto it, wherever that is."""
        vcpu = small.domain.vcpus[0]
        vcpu.paging = small.flat
        registers = vcpu.registers
        registers.rip = rip
        registers.rax, registers.rdi = Hypercall.console_io, ConsoleIoOp.write
        registers.rsi, registers.rdx, registers.r10 = 5000, TEXT, 77
        dispatch(vcpu)
        assert (registers.rax, registers.rdi) == (Hypercall.console_io, ConsoleIoOp.write)
        assert (registers.rsi, registers.rdx, registers.r10) == (904, TEXT + 4096, 77)
        assert registers.rip == rip - 3 & MASK

    def test_yielding_is_no_error(self, small: SmallDomain) -> None:
        assert small.hypercall(Hypercall.sched_op, SchedOp.yield_) == 0
