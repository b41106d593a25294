"""A real domain whose hypercalls are made by the test, with the lines that its trace gives."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from xenolith.abi.layout import Layout
from xenolith.abi.xen import MULTICALL_ENTRY, Hypercall, MulticallEntry
from xenolith.engine.choice import new_hvm_engine
from xenolith.hypervisor.domain import DomainParameters
from xenolith.hypervisor.guest_access import Continuation
from xenolith.hypervisor.guest_paging import GuestPaging
from xenolith.hypervisor.hvm.domain import HvmDomain
from xenolith.hypervisor.hypercalls.dispatch import call
from xenolith.hypervisor.trace.domain_trace import attach
from xenolith.machine.address import Gfn, GuestVirt

DOMID = 1
FRAMES = 1024
ARGUMENT = 0x10000
LIST = 0x20000
NOWHERE = 0xDEAD0000

_VARYING = re.compile(r"^ +\d+\.\d{6} | <\d+\.\d us>$")


class Registers:
    """Of a vCPU that does not page: guest-virtual addresses are guest-physical ones."""

    cr0 = cr3 = cr4 = efer = 0


class Events:
    """Hears what the domain says."""

    def __init__(self) -> None:
        self.output = b""

    def shut_down(self, reason: int) -> None: ...

    def debug_output(self, data: bytes) -> None:
        self.output += data

    def log(self, message: str) -> None: ...


class TracedDomain:
    """A domain of two vCPUs and 4 MiB."""

    def __init__(self) -> None:
        self.events = Events()
        parameters = DomainParameters(DOMID, ((Gfn(0), FRAMES),), 2)
        self.domain = HvmDomain(parameters, new_hvm_engine, self.events)
        for vcpu in self.domain.vcpus:
            vcpu.paging = GuestPaging(self.domain.memory.machine, self.domain.p2m, Registers())  # type: ignore[arg-type]
        self.lines: list[str] = []
        self.watch(self.lines.append)

    def watch(self, sink: Callable[[str], None]) -> None:
        attach(self.domain, sink)
        self.lines.clear()

    def write(self, address: int, data: bytes) -> None:
        self.domain.vcpus[0].paging.copy_to(GuestVirt(address), data)

    def read(self, address: int, size: int) -> bytes:
        return self.domain.vcpus[0].paging.copy_from(GuestVirt(address), size)

    def hypercall(self, number: int, *arguments: int, vcpu: int = 0) -> int | Continuation:
        """Make a hypercall; what the guest sees of it, or the continuation."""
        registers = (*arguments, *[0] * (5 - len(arguments)))
        try:
            return call(self.domain.vcpus[vcpu], number, registers)
        except Continuation as rest:
            return rest

    def with_struct(
        self, number: int, cmd: int, layout: Layout[Any], *values: Any, vcpu: int = 0
    ) -> int | Continuation:
        """Make a hypercall ``number(cmd, &struct)``."""
        self.write(ARGUMENT, layout.pack(layout.fields(*values)))
        return self.hypercall(number, cmd, ARGUMENT, vcpu=vcpu)

    def multicall(self, *entries: tuple[int, ...]) -> int | Continuation:
        """Make several hypercalls (number, arguments...) in one."""
        data = b"".join(
            MULTICALL_ENTRY.pack(MulticallEntry(number, 0, (*rest, *[0] * (6 - len(rest)))))
            for number, *rest in entries
        )
        self.write(LIST, data)
        return self.hypercall(Hypercall.multicall, LIST, len(entries))

    def taken(self) -> list[str]:
        """The lines since the last time, without what differs from run to run."""
        lines = [_VARYING.sub("", text) for text in self.lines]
        self.lines.clear()
        return lines

    def shown(self) -> str:
        """The only line since the last time: what was called and its result."""
        (text,) = self.taken()
        return text.removeprefix("v0  ")
