"""Hypercalls of 32-bit guests: registers, continuations, and whatever else such a guest may ask for."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from small_domain import ARGUMENT, DATA, LIST, RAM_FRAMES, SmallDomain

from xenolith.abi.compat import WALL_CLOCK
from xenolith.abi.errno import Errno, XenError
from xenolith.abi.memory import XEN_MEMORY_RESERVATION, MemoryOp, XenMemoryReservation
from xenolith.abi.sched import SchedOp
from xenolith.abi.version import VersionOp
from xenolith.abi.xen import DOMID_SELF, ConsoleIoOp, Hypercall
from xenolith.hypervisor.guest_access import LONG_WORD
from xenolith.hypervisor.hvm.vcpu import HvmVcpu
from xenolith.hypervisor.hypercalls.compat import COMPAT_WORD, dispatch_compat
from xenolith.hypervisor.hypercalls.table import HVM_HANDLERS
from xenolith.hypervisor.release import XEN_MAJOR, XEN_MINOR
from xenolith.machine.address import PAGE_SIZE

TEXT = 0x140000
VERSION = XEN_MAJOR << 16 | XEN_MINOR
LOW32 = (1 << 32) - 1
HIGH = 0x5EED << 32
"""What may be in the upper half of a register, which a 32-bit guest knows nothing of."""

ARGUMENTS = ("rbx", "rcx", "rdx", "rsi", "rdi")


@pytest.fixture
def small() -> Iterator[SmallDomain]:
    domain = SmallDomain()
    domain.domain.vcpus[0].paging = domain.flat
    yield domain
    domain.close()


def load(vcpu: HvmVcpu, number: int, *arguments: int) -> None:
    vcpu.registers.rax = HIGH | number & LOW32
    for name, value in zip(ARGUMENTS, (*arguments, 0, 0, 0, 0, 0), strict=False):
        setattr(vcpu.registers, name, HIGH | value & LOW32)


def test_the_answer_is_in_eax(small: SmallDomain) -> None:
    vcpu = small.domain.vcpus[0]
    load(vcpu, Hypercall.xen_version, VersionOp.version)
    dispatch_compat(vcpu)
    assert vcpu.registers.rax == VERSION
    load(vcpu, 12345)
    dispatch_compat(vcpu)
    assert vcpu.registers.rax == -Errno.ENOSYS & LOW32
    assert vcpu.paging.word == LONG_WORD


def test_a_call_that_is_made_again_is_executed_again(small: SmallDomain) -> None:
    vcpu = small.domain.vcpus[0]
    vcpu.registers.rip = 0x1003
    load(vcpu, Hypercall.console_io, ConsoleIoOp.write, 5000, TEXT, 77, 78)
    dispatch_compat(vcpu)
    registers = vcpu.registers
    assert (registers.rax, registers.rbx) == (Hypercall.console_io, ConsoleIoOp.write)
    assert (registers.rcx, registers.rdx, registers.rsi) == (904, TEXT + 4096, HIGH | 77)
    assert registers.rip == 0x1000


def test_a_list_of_any_length_is_worked_on_to_its_end(small: SmallDomain) -> None:
    vcpu = small.domain.vcpus[0]
    frames = range(RAM_FRAMES - 700, RAM_FRAMES)
    small.write(LIST, b"".join(frame.to_bytes(4, "little") for frame in frames))
    asked = XenMemoryReservation(LIST, len(frames), 0, 0, DOMID_SELF)
    small.write_struct(XEN_MEMORY_RESERVATION.compat, asked)
    load(vcpu, Hypercall.memory_op, MemoryOp.decrease_reservation, ARGUMENT)
    vcpu.registers.rip = 0x1003
    calls = 0
    while calls == 0 or vcpu.registers.rip == 0x1000:
        vcpu.registers.rip = 0x1003
        dispatch_compat(vcpu)
        calls += 1
    assert calls == 2
    assert vcpu.registers.rax == len(frames)
    assert not any(small.gfn_is_ram(frame) for frame in frames)


def test_shared_info_follows_the_guests_words(small: SmallDomain) -> None:
    domain = small.domain
    page = domain.memory.frame(domain.shared_info_mfn)
    wide, narrow = (
        [bytes(page[at : at + 4]) for at in WALL_CLOCK[word]] for word in (LONG_WORD, COMPAT_WORD)
    )
    assert wide != narrow
    domain.latch_word(COMPAT_WORD)
    assert [bytes(page[at : at + 4]) for at in WALL_CLOCK[COMPAT_WORD]] == wide


def test_bitmaps_do_not_become_smaller_than_the_ports_in_use() -> None:
    small = SmallDomain(max_event_channels=2000)
    events = small.domain.event_channels
    while events.alloc_unbound(0) < 1023:
        pass
    assert events.latch_word(COMPAT_WORD)
    assert events.latch_word(LONG_WORD)
    port = events.alloc_unbound(0)
    assert port == 1024
    assert not events.latch_word(COMPAT_WORD)
    events.close(port)
    assert events.latch_word(COMPAT_WORD)
    with pytest.raises(XenError, match="no event channel is free"):
        events.alloc_unbound(0)
    small.close()


def word(choose: random.Random) -> int:
    match choose.randrange(6):
        case 0:
            return choose.randrange(16)
        case 1:
            return choose.choice((0x7FF0, 0x7FF0, 0, 7, 0x7FFF, LOW32, 1 << 31, LOW32 - 7, 4096))
        case 2:
            return choose.randrange(RAM_FRAMES)
        case 3:
            return choose.choice((ARGUMENT, LIST, DATA, LIST + PAGE_SIZE - 4, 0x0FFF_F000))
        case 4:
            return choose.randrange(64) << 16 | choose.choice((0x7FF0, 0x7FF0, 0))
        case _:
            return choose.randrange(1 << 32)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_that_a_guest_asks_for_does_harm(small: SmallDomain, seed: int) -> None:
    choose = random.Random(seed)
    vcpu = small.domain.vcpus[0]
    forbidden = (SchedOp.shutdown, SchedOp.shutdown_code, SchedOp.watchdog)
    for _ in range(600):
        small.domain.p2m.populate(range(RAM_FRAMES))
        for page in (ARGUMENT, LIST):
            words = [word(choose) for _ in range(64)]
            small.write(page, b"".join(value.to_bytes(4, "little") for value in words))
        number = choose.choice(list(HVM_HANDLERS))
        command = choose.randrange(32) if choose.randrange(8) else word(choose)
        if number == Hypercall.sched_op and command in forbidden:
            continue
        argument = choose.choice((ARGUMENT, word(choose)))
        load(vcpu, number, command, argument, *(word(choose) for _ in range(3)))
        dispatch_compat(vcpu)
        assert 0 <= vcpu.registers.rax <= LOW32
        assert vcpu.paging.word == LONG_WORD
