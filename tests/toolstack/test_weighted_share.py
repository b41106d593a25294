"""Weights on a simulated host, whose own scheduler treats processes alike."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from xenolith.abi.vcpu import Runstate
from xenolith.toolstack import status_page
from xenolith.toolstack.status_page import StatusPage
from xenolith.toolstack.weighted_share import Reported, Rival, WeightedShare, rival

MS = 1_000_000
STEP = MS


class Process:
    """A domain's process, which spins whenever its throttle and ``wants`` let it."""

    def __init__(self, weight: int, wants: Callable[[int], bool] = lambda _now: True) -> None:
        self.weight = weight
        self.used = 0
        self.wants = wants
        self.share: WeightedShare | None = None
        self._parked_until = 0
        self._ask_at = 0

    def runs(self, now: int) -> bool:
        """Whether it could use the CPU now."""
        if self.share is not None and now >= max(self._parked_until, self._ask_at):
            pause = self.share.park(now)
            self._parked_until = now + pause
            self._ask_at = now + (0 if pause else self.share.stretch())
        return self.wants(now) and now >= self._parked_until


class Simulation:
    """CPUs, each with its processes in turn."""

    def __init__(self, *cpus: list[Process]) -> None:
        self.now = 0
        self._cpus = cpus
        everybody = [process for cpu in cpus for process in cpu]
        for process in everybody:
            heavier = [other for other in everybody if other.weight > process.weight]
            if heavier:
                rivals = [
                    Rival(other.weight, self._used(other), self._wanting(other))
                    for other in heavier
                ]
                process.share = WeightedShare(process.weight, rivals, self._used(process))

    def _used(self, process: Process) -> Callable[[], int]:
        return lambda: process.used

    def _wanting(self, process: Process) -> Callable[[], bool]:
        return lambda: process.wants(self.now)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            for cpu in self._cpus:
                able = [process for process in cpu if process.runs(self.now)]
                for process in able:
                    process.used += STEP // len(able)
            self.now += STEP


@pytest.mark.parametrize(("light", "heavy"), [(256, 512), (256, 257), (1, 3), (100, 1000)])
def test_two_that_spin_share_a_cpu_by_weight(light: int, heavy: int) -> None:
    processes = [Process(light), Process(heavy)]
    Simulation(processes).run(5_000)
    assert processes[0].used / processes[1].used == pytest.approx(light / heavy, rel=0.1)
    # And the CPU does not stand still.
    assert sum(process.used for process in processes) > 0.98 * 5_000 * STEP


def test_three_that_spin_share_a_cpu_by_weight() -> None:
    processes = [Process(weight) for weight in (256, 512, 1024)]
    Simulation(processes).run(5_000)
    shares = [process.used / (5_000 * STEP) for process in processes]
    assert shares == pytest.approx([1 / 7, 2 / 7, 4 / 7], abs=0.03)


def test_each_on_a_cpu_of_its_own_is_left_alone() -> None:
    processes = [Process(1), Process(1000)]
    Simulation([processes[0]], [processes[1]]).run(5_000)
    assert processes[0].used > 0.99 * 5_000 * STEP


def test_what_the_heavier_one_does_not_want_the_lighter_one_gets() -> None:
    idle = Process(1000, lambda _now: False)
    spinning = Process(1)
    Simulation([spinning, idle]).run(5_000)
    assert spinning.used == 5_000 * STEP


def test_one_that_rested_for_long_is_owed_little() -> None:
    """The heavier one sleeps for 10 s: afterwards the lighter one gets its share, not nothing."""
    late = Process(512, lambda now: now >= 10_000 * MS)
    spinning = Process(256)
    simulation = Simulation([spinning, late])
    simulation.run(10_000)
    before = spinning.used
    simulation.run(1_000)
    assert (spinning.used - before) / (1_000 * STEP) == pytest.approx(1 / 3, abs=0.1)


def test_a_rival_that_has_ended_is_owed_nothing() -> None:
    share = WeightedShare(1, [Rival(1000, lambda: None, lambda: True)], lambda: 0)
    assert [share.park(now * 10 * MS) for now in range(10)] == [0] * 10


def test_a_rival_is_a_process_and_its_status_page(tmp_path: Path) -> None:
    path = str(tmp_path / "status")
    fd = status_page.create(path)
    page = StatusPage(fd)
    page.set_vcpus(2)
    myself = rival(os.getpid(), 512, fd)
    first = myself.cpu_time()
    assert first is not None and abs(first - time.process_time_ns()) < 100 * MS
    assert not myself.wants_cpu()
    for state, wants in (
        (Runstate.runnable, True),
        (Runstate.blocked, False),
        (Runstate.running, True),
    ):
        page.set_vcpu(1, state, 5)
        assert myself.wants_cpu() is wants
    page.set_paused()
    assert not myself.wants_cpu()
    page.clear_paused()

    class Strict:
        def park(self, _now: int) -> int:
            return 3600 * 1000 * MS

        def stretch(self) -> int:
            return 1

    Reported(Strict(), page).park(0)
    assert not myself.wants_cpu()
    os.close(fd)


def test_a_rival_s_page_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "status"
    for content in (b"", b"\xff" * 3, b"\xff" * mmap.PAGESIZE):
        path.write_bytes(content)
        fd = os.open(path, os.O_RDONLY)
        assert rival(os.getpid(), 1, fd).wants_cpu() is False
        os.close(fd)


def test_a_process_that_is_gone_has_no_time(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert rival(child, 1, -1).cpu_time() is None


@pytest.mark.parametrize("period", [7, 10, 23])
def test_a_heavier_one_that_works_a_little_now_and_then_costs_little(period: int) -> None:
    """It wants a millisecond in each period, and the CPU is not to stand still for what it does not want."""
    brief = Process(1000, lambda now: now // MS % period == 0)
    spinning = Process(1)
    Simulation([spinning, brief]).run(5_000)
    assert spinning.used + brief.used > 0.9 * 5_000 * STEP, (spinning.used, brief.used)
