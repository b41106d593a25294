"""The status page: one page of shared memory in which a domain process shows how its domain does.

It is a file of the run directory, so it can be read without asking anybody, and still when the
process has died. Each field is one aligned 64-bit word written at once, so that no reader needs a
lock. The states are those of public/vcpu.h and public/sched.h.
"""

from __future__ import annotations

import mmap
import os
import time
from typing import NamedTuple

from xenolith.abi.layout import U64, Layout
from xenolith.abi.vcpu import Runstate

PAGE_BYTES = 4096
MAX_VCPUS = 128

_STATE_SHIFT = 62
_TIME_MASK = (1 << _STATE_SHIFT) - 1
_WANTING = (Runstate.running, Runstate.runnable)


class _Header(NamedTuple):
    """The page's first words."""

    paused: U64
    shutdown: U64
    """0, or one more than the shutdown reason."""
    memory_kib: U64
    max_memory_kib: U64
    vcpus: U64
    parked_until: U64
    """Time of day (monotonic) up to which its scheduling parameters keep all vCPUs from running."""


class _Vcpu(NamedTuple):
    """The word of a vCPU: its runstate in the upper 2 bits, nanoseconds of run time below.

    Of a running vCPU these are its run time less the time of day (monotonic), so that the word
    need not change while it runs.
    """

    word: U64


_HEADER = Layout(_Header)
_VCPU = Layout(_Vcpu)


class VcpuStatus(NamedTuple):
    """One vCPU: its runstate, and for how long it has run."""

    state: Runstate
    run_time_ns: int


class Status(NamedTuple):
    """What a page said at one moment."""

    paused: bool
    shutdown_reason: int | None
    """None while the domain has not shut down."""
    memory_kib: int
    max_memory_kib: int
    vcpus: list[VcpuStatus]


def create(path: str) -> int:
    """Make an all-zero page as a new file and return its descriptor; OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, PAGE_BYTES)
    except OSError as error:
        os.close(fd)
        raise OSError(error.errno, error.strerror, path) from None
    return fd


class StatusPage:
    """The writer's view of a page, from a descriptor that may be closed afterwards.

    Different threads may write different fields.
    """

    def __init__(self, fd: int) -> None:
        self._words = memoryview(mmap.mmap(fd, PAGE_BYTES)).cast("Q")

    def set_paused(self) -> None:
        """Show that the domain's vCPUs stand still by order."""
        self._set("paused", 1)

    def clear_paused(self) -> None:
        """Show that the domain's vCPUs may run."""
        self._set("paused", 0)

    def set_shutdown(self, reason: int) -> None:
        """Show that the guest has shut down, for a reason of public/sched.h (0 to 255)."""
        self._set("shutdown", reason + 1)

    def set_memory(self, kib: int) -> None:
        """Show how much memory the domain holds."""
        self._set("memory_kib", kib)

    def set_max_memory(self, kib: int) -> None:
        """Show how much memory the domain may hold."""
        self._set("max_memory_kib", kib)

    def set_parked_until(self, moment: int) -> None:
        """Show until when no vCPU runs because of a cap or a weight, in ns of CLOCK_MONOTONIC."""
        self._set("parked_until", moment)

    def set_vcpus(self, count: int) -> None:
        """Show how many vCPUs the domain has, all offline until told otherwise."""
        for vcpu in range(count):
            self.set_vcpu(vcpu, Runstate.offline, 0)
        self._set("vcpus", count)

    def set_vcpu(self, vcpu: int, state: Runstate, run_time_ns: int) -> None:
        """Show what a vCPU does from now on, and for how long it had run before."""
        if state is Runstate.running:
            run_time_ns -= time.monotonic_ns()
        word = state << _STATE_SHIFT | run_time_ns & _TIME_MASK
        self._words[_HEADER.size // _VCPU.size + vcpu] = word

    def _set(self, field: str, value: int) -> None:
        self._words[_HEADER.offsets[field] // _VCPU.size] = value


def read(fd: int) -> Status:
    """What a page says now. Trusts nothing that stands there, not even the file's size."""
    page = os.pread(fd, PAGE_BYTES, 0).ljust(PAGE_BYTES, b"\0")
    header = _HEADER.unpack(page)
    count = min(header.vcpus, MAX_VCPUS)
    return Status(
        paused=header.paused != 0,
        shutdown_reason=(header.shutdown - 1) & 0xFF if header.shutdown else None,
        memory_kib=header.memory_kib,
        max_memory_kib=header.max_memory_kib,
        vcpus=[_vcpu(page, _HEADER.size + vcpu * _VCPU.size) for vcpu in range(count)],
    )


def wants_cpu(fd: int) -> bool:
    """Whether a vCPU of a page's domain runs, or would if it could. Trusts nothing that stands there."""
    page = os.pread(fd, PAGE_BYTES, 0).ljust(PAGE_BYTES, b"\0")
    header = _HEADER.unpack(page)
    if header.paused or header.shutdown or header.parked_until > time.monotonic_ns():
        return False
    first = _HEADER.size // _VCPU.size
    words = memoryview(page).cast("Q")[first : first + min(header.vcpus, MAX_VCPUS)]
    return any(word >> _STATE_SHIFT in _WANTING for word in words)


def _vcpu(page: bytes, offset: int) -> VcpuStatus:
    word = _VCPU.unpack(page, offset).word
    state, run_time = Runstate(word >> _STATE_SHIFT), word & _TIME_MASK
    if state is Runstate.running:
        run_time = run_time + time.monotonic_ns() & _TIME_MASK
    return VcpuStatus(state, run_time)
