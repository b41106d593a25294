"""vCPUs that take turns on one thread, HVM and PV: equal shares, prompt wake-ups, and spinners that give way.

What is compared is the time that vCPUs have run, by their runstates, so a busy host matters little.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pytest
import small_domain
import small_pv_domain
from small_domain import SmallDomain, wait_until
from small_pv_domain import SmallPvDomain

from xenolith.abi.sched import SchedOp
from xenolith.abi.vcpu import Runstate
from xenolith.abi.xen import Hypercall
from xenolith.engine.pv import PvCpuState
from xenolith.hypervisor.vcpu import Vcpu
from xenolith.machine.address import GuestVirt

MILLISECOND = 1_000_000
VCPUS = 4
INC = b"\x48\xff\x03"
"""incq (%rbx)"""
PAUSE = b"\xf3\x90"
DEC_UNTIL_ZERO = b"\x48\xff\x4b\x08\x75\xfa"
"""1: decq 8(%rbx); jnz 1b"""
UNLOCK = b"\x48\xc7\x43\x10\x00\x00\x00\x00"
"""movq $0, 16(%rbx)"""
IS_LOCKED = b"\x48\x83\x7b\x10\x00"
"""cmpq $0, 16(%rbx)"""
SPIN = b"\xeb\xfe"


def for_ever(body: bytes) -> bytes:
    return body + b"\xeb" + (-len(body) - 2).to_bytes(1, "little", signed=True)


def until_unlocked(body: bytes) -> bytes:
    """Execute ``body`` as long as the lock is taken."""
    code = body + IS_LOCKED
    return code + b"\x75" + (-len(code) - 2).to_bytes(1, "little", signed=True)


class Small(Protocol):
    """A small domain of either type; RBX of each vCPU points at a place where all of them can write."""

    vcpus: list[Vcpu]

    def start(self, vcpu_id: int, code: bytes) -> None: ...

    def word(self, offset: int) -> int: ...

    def set_word(self, offset: int, value: int) -> None: ...

    def yield_code(self) -> bytes: ...

    def sleep_code(self) -> bytes: ...

    def running(self) -> Any: ...

    def post(self, call: Callable[[], None]) -> None: ...

    def close(self) -> None: ...


class Hvm:
    def __init__(self) -> None:
        self._small = SmallDomain(vcpus=VCPUS)
        self.vcpus: list[Vcpu] = list(self._small.domain.vcpus)
        self.post = self._small.domain.post
        self.running = self._small.running
        self.close = self._small.close

    def start(self, vcpu_id: int, code: bytes) -> None:
        self._small.start(vcpu_id, code, rbx=small_domain.DATA)

    def word(self, offset: int) -> int:
        return self._small.read64(small_domain.DATA + offset)

    def set_word(self, offset: int, value: int) -> None:
        self._small.write64(small_domain.DATA + offset, value)

    def yield_code(self) -> bytes:
        return _sched_op(SchedOp.yield_, b"\x0f\x01\xd9")

    def sleep_code(self) -> bytes:
        return b"\xfb\xf4"  # sti; hlt


class Pv:
    def __init__(self) -> None:
        self._small = SmallPvDomain(vcpus=VCPUS)
        self.vcpus: list[Vcpu] = list(self._small.domain.vcpus)
        self.post = self._small.domain.post
        self.close = self._small.close

    def start(self, vcpu_id: int, code: bytes) -> None:
        small = self._small
        address = small.write(0, code, 0x100 * vcpu_id)
        vcpu = small.domain.vcpus[vcpu_id]
        vcpu.start_with(
            PvCpuState(
                rip=address,
                # Where nothing but a trap would put anything.
                rsp=GuestVirt(small.address(small_pv_domain.DATA + 1) + 0x100 * (vcpu_id + 1)),
                cs=0xE033,
                ss=0xE02B,
                kernel_root=small.mfn(small_pv_domain.ROOT),
                gdt=[small.mfn(small_pv_domain.GDT)],
                general={"rbx": small.address(small_pv_domain.DATA)},
            )
        )
        small.domain.scheduler.bring_up(vcpu)

    def word(self, offset: int) -> int:
        return int.from_bytes(self._small.read(small_pv_domain.DATA, 8, offset), "little")

    def set_word(self, offset: int, value: int) -> None:
        self._small.write(small_pv_domain.DATA, value.to_bytes(8, "little"), offset)

    def yield_code(self) -> bytes:
        return _sched_op(SchedOp.yield_, b"\x0f\x05")

    def sleep_code(self) -> bytes:
        return _sched_op(SchedOp.block, b"\x0f\x05")

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._small.domain.run, name="hypervisor")
        thread.start()
        try:
            yield
        finally:
            self.post(self._small.domain.stop)
            thread.join(10)
            assert not thread.is_alive()


def _sched_op(operation: SchedOp, call: bytes) -> bytes:
    number = Hypercall.sched_op.value
    return b"\xb8" + number.to_bytes(4, "little") + b"\xbf" + bytes([operation, 0, 0, 0]) + call


@pytest.fixture(params=[Hvm, Pv])
def small(request: pytest.FixtureRequest) -> Iterator[Small]:
    made: Small = request.param()
    yield made
    made.close()


def ran(vcpu: Vcpu) -> int:
    """How long a vCPU has run, in ns; while it runs itself this is a little old."""
    return vcpu.runstate.running_time(vcpu.domain.clock.now())


def test_vcpus_that_spin_get_equal_shares(small: Small) -> None:
    for number in range(VCPUS):
        small.start(number, SPIN)
    with small.running():
        wait_until(lambda: sum(map(ran, small.vcpus)) > 200 * 5 * MILLISECOND, 30)
    shares = [ran(vcpu) for vcpu in small.vcpus]
    assert min(shares) > 0.7 * max(shares), shares


@pytest.mark.parametrize("how", ["PAUSE", "yield"])
def test_who_spins_for_a_lock_lets_its_holder_run(small: Small, how: str) -> None:
    """vCPU 0 has the lock and work to do; the others spin until it lets go."""
    spin = PAUSE if how == "PAUSE" else small.yield_code()
    small.set_word(8, 30_000_000)
    small.set_word(16, 1)
    small.start(0, DEC_UNTIL_ZERO + UNLOCK + SPIN)
    for number in range(1, VCPUS):
        small.start(number, until_unlocked(spin) + SPIN)
    spun: list[int] = []
    with small.running():
        wait_until(lambda: small.word(16) == 0, 60)
        small.post(lambda: spun.extend(map(ran, small.vcpus)))
        wait_until(lambda: bool(spun))
    holder, *spinners = spun
    assert holder > 100 * MILLISECOND
    assert sum(spinners) < 0.2 * holder + 2 * VCPUS * 5 * MILLISECOND, spun


def test_who_spins_without_a_word_gets_its_share_and_no_more(small: Small) -> None:
    """Nobody can tell that it spins; but the holder of the lock gets its turns."""
    small.set_word(8, 10_000_000)
    small.set_word(16, 1)
    small.start(0, DEC_UNTIL_ZERO + UNLOCK + SPIN)
    small.start(1, until_unlocked(b"") + SPIN)
    with small.running():
        wait_until(lambda: small.word(16) == 0, 60)


def test_a_woken_vcpu_runs_before_those_that_spin(small: Small) -> None:
    """Between its wake-up and its run the others run for half a millisecond at most, whoever has the CPU."""
    small.start(0, for_ever(small.sleep_code()))
    for number in range(1, VCPUS):
        small.start(number, SPIN)
    sleeper, spinners = small.vcpus[0], small.vcpus[1:]
    woken_at: list[int] = []
    waited: list[int] = []

    def changed(state: Runstate, _run_time: int) -> None:
        if state == Runstate.running and woken_at:
            waited.append(sum(map(ran, spinners)) - woken_at.pop())

    def wake() -> None:
        woken_at.append(sum(map(ran, spinners)))
        sleeper.domain.scheduler.wake(sleeper)

    with small.running():
        wait_until(lambda: sleeper.runstate.state == Runstate.blocked)
        sleeper.runstate.observer = changed
        for number in range(50):
            slept_until = sum(map(ran, spinners)) + 10 * MILLISECOND
            wait_until(lambda slept_until=slept_until: sum(map(ran, spinners)) > slept_until)  # type: ignore[misc]
            small.post(wake)
            wait_until(lambda number=number: len(waited) > number)  # type: ignore[misc]
            wait_until(lambda: sleeper.runstate.state == Runstate.blocked)
    # A busy host makes some of them longer.
    assert sorted(waited)[40] < 2 * MILLISECOND, waited
