"""A domain of a few MiB on the real engine, whose guest is a few instructions written by hand.

Its vCPUs start in 64-bit mode, with the first GiB mapped onto itself. Without its hypervisor thread the domain
also serves hypercalls of its first vCPU by themselves: arguments are then guest-physical addresses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from xenolith.abi.layout import Layout
from xenolith.abi.sched import ShutdownReason
from xenolith.abi.xen import Hypercall
from xenolith.engine.choice import new_hvm_engine
from xenolith.engine.hvm import CpuState, Segment
from xenolith.hypervisor.domain import DomainParameters
from xenolith.hypervisor.guest_access import Continuation
from xenolith.hypervisor.guest_paging import GuestPaging
from xenolith.hypervisor.hvm.domain import HvmDomain
from xenolith.hypervisor.hvm.vcpu import HvmVcpu
from xenolith.hypervisor.hypercalls.dispatch import call
from xenolith.machine.address import PAGE_SIZE, Gfn, GuestPhys, GuestVirt

T = TypeVar("T", bound=tuple[Any, ...])

DOMID = 7
RAM_FRAMES = 1024

PAGE_TABLES = 0x1000
CODE = 0x10000
"""Where the code of vCPU n starts: CODE + n * PAGE_SIZE."""
DATA = 0x20000
"""A page for what guests report."""
STACKS = 0x40000
ARGUMENT = GuestVirt(0x80000)
LIST = GuestVirt(0x90000)

CODE_64 = Segment(0x8, 0xA9B)
DATA_64 = Segment(0x10, 0xC93)

SPIN = b"\xeb\xfe"
HALT_FOR_EVER = b"\xfb\xf4\xeb\xfc"
"""1: sti; hlt; jmp 1b"""


def count_at(address: int) -> bytes:
    """1: incq address; jmp 1b"""
    return b"\x48\xff\x04\x25" + address.to_bytes(4, "little") + b"\xeb\xf6"


class Events:
    """What the domain told its process."""

    def __init__(self) -> None:
        self.reasons: list[ShutdownReason] = []
        self.output = b""
        self.lines: list[str] = []

    def shut_down(self, reason: ShutdownReason) -> None:
        self.reasons.append(reason)

    def debug_output(self, data: bytes) -> None:
        self.output += data

    def log(self, message: str) -> None:
        self.lines.append(message)


class FlatRegisters:
    """The registers of a CPU without paging: a virtual address is a guest-physical one."""

    rax = rbx = rcx = rdx = rsi = rdi = rsp = r8 = r10 = rip = 0
    cr0 = cr3 = cr4 = efer = rflags = cpl = 0
    interrupts_enabled = long_mode = False


class SmallDomain:
    def __init__(
        self,
        vcpus: int = 1,
        ram: tuple[tuple[Gfn, int], ...] | None = None,
        max_event_channels: int = 1023,
    ) -> None:
        self.events = Events()
        parameters = DomainParameters(
            DOMID, ram or ((Gfn(0), RAM_FRAMES),), vcpus, max_event_channels=max_event_channels
        )
        self.domain = HvmDomain(parameters, new_hvm_engine, self.events)
        self.flat = GuestPaging(self.domain.memory.machine, self.domain.p2m, FlatRegisters())
        self._write_page_tables()

    def _write_page_tables(self) -> None:
        """One table of each level; the last maps the first GiB in pages of 2 MiB."""
        level4, level3, level2 = (PAGE_TABLES + PAGE_SIZE * number for number in range(3))
        self.write64(level4, level3 | 3)
        self.write64(level3, level2 | 3)
        for number in range(512):
            self.write64(level2 + 8 * number, number << 21 | 0x83)

    def write(self, address: int, data: bytes) -> None:
        self.flat.copy_to(GuestVirt(address), data)

    def write64(self, address: int, value: int) -> None:
        self.write(address, value.to_bytes(8, "little"))

    def read(self, address: int, size: int) -> bytes:
        return self.flat.copy_from(GuestVirt(address), size)

    def read64(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")

    def write_struct(self, layout: Layout[T], record: T, address: int = ARGUMENT) -> None:
        self.write(address, layout.pack(record))

    def read_struct(self, layout: Layout[T], address: int = ARGUMENT) -> T:
        return layout.unpack(self.read(address, layout.size))

    def start(self, vcpu_id: int, code: bytes, **general: int) -> HvmVcpu:
        """Bring a vCPU up in 64-bit mode, with the code given."""
        address = CODE + vcpu_id * PAGE_SIZE
        self.write(address, code)
        vcpu = self.domain.vcpus[vcpu_id]
        vcpu.start(
            CpuState(
                rip=address,
                rsp=STACKS + vcpu_id * PAGE_SIZE,
                cr0=0x80000011,
                cr3=PAGE_TABLES,
                cr4=0x20,
                efer=0x500,
                cs=CODE_64,
                ds=DATA_64,
                es=DATA_64,
                ss=DATA_64,
                general=general,
            )
        )
        return vcpu

    @contextmanager
    def running(self) -> Iterator[threading.Thread]:
        """The hypervisor thread runs while the block does."""
        thread = threading.Thread(target=self.domain.run, name="hypervisor")
        thread.start()
        try:
            yield thread
        finally:
            self.domain.post(self.domain.stop)
            thread.join(10)
            assert not thread.is_alive(), "the hypervisor thread does not stop"

    def on_hypervisor_thread(self, function: Callable[[], object]) -> None:
        """Make a call there and wait until it is made."""
        done = threading.Event()

        def run() -> None:
            function()
            done.set()

        self.domain.post(run)
        assert done.wait(10), "the hypervisor thread does not take posts"

    def hypercall(self, number: Hypercall, *arguments: int) -> int:
        """Make one without a guest, and make it again as long as it asks for that."""
        result, _ = self.counted_hypercall(number, *arguments)
        return result

    def counted_hypercall(self, number: Hypercall, *arguments: int) -> tuple[int, int]:
        """The result, and how often the call asked to be made again."""
        vcpu = self.domain.vcpus[0]
        vcpu.paging = self.flat
        padded = (*arguments, 0, 0, 0, 0, 0)[:5]
        for continuations in range(10_000):
            try:
                return call(vcpu, number, padded), continuations
            except Continuation as rest:
                padded = (*rest.arguments, *padded[len(rest.arguments) :])
                assert all(0 <= argument < 1 << 64 for argument in padded)
        raise AssertionError("the hypercall never ends")

    def gfn_is_ram(self, gfn: int) -> bool:
        return self.domain.p2m.lookup(gfn) is not None

    def close(self) -> None:
        self.domain.engine.close()


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Look often until a condition holds that another thread will bring about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.0005)


def address_of(gfn: int) -> GuestPhys:
    return GuestPhys(gfn * PAGE_SIZE)
