"""What this host's KVM is good for: its speed in kernel mode, the cost of exits and traps, and PV guests on it.

The peer's column holds the same PV guest on Unicorn, and for programs the host itself.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace

from bench.contest import Contest, run
from bench.errors import BenchError
from bench.figure import Figure, Judged, Relation, Target
from bench.gbench import END, rates
from bench.guest import Guest, GuestSpec
from bench.process_usage import cpu_seconds
from bench.sections.boot import debian, user_space
from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm.device import KvmDevice
from xenolith.engine.kvm.measure import processor_at, ring_0_rate
from xenolith.engine.kvm.pv.measure import trap_seconds

_HALT_FOR_EVER = b"\xf4" + b"\xeb\xfd"
"""1: hlt; jmp 1b"""
_SAMPLES, _EXITS = 5, 1000
_NATIVE = Target(Relation.AT_LEAST, 0.9, Judged.RATIO)
_COUNTS = re.compile(r"(\d+) entries, (\d+) system calls, (\d+) hypercalls, (\d+) page faults")


def measure(contest: Contest) -> Iterator[Figure]:
    """Nothing where there is no KVM to use."""
    try:
        device = KvmDevice.open()
    except EngineError:
        return
    rates_of_ring_0 = [ring_0_rate(device) / 1e6 for _ in range(_SAMPLES)]
    yield Figure("kvm, instructions in ring 0", "M/s", rates_of_ring_0)
    yield Figure("kvm, exit by HLT and back", "us", [_exit_us(device) for _ in range(_SAMPLES)])
    traps = [trap_seconds(device) * 1e6 for _ in range(_SAMPLES)]
    yield Figure("kvm, trap of ring 3 and back", "us", traps)
    yield from _boots(contest)
    yield from _bounces(contest)
    yield from _programs(contest)


def _exit_us(device: KvmDevice) -> float:
    with processor_at(device, _HALT_FOR_EVER) as processor:
        begin = time.perf_counter()
        for _ in range(_EXITS):
            processor.enter()
        return (time.perf_counter() - begin) / _EXITS * 1e6


def _boots(contest: Contest) -> Iterator[Figure]:
    """Debian's kernel to user space, by turns."""
    spec = replace(debian(contest.images, memory=512), type="pv")
    kvm: list[tuple[float, float]] = []
    unicorn: list[tuple[float, float]] = []
    for _ in range(contest.effort.pairs):
        for engine, into in (("kvm", kvm), ("unicorn", unicorn)):
            into.append(run(contest.ours, replace(spec, engine=engine), _wall_and_processor_time))
    walls, processor_times = (
        [[each[at] for each in runs] for runs in (kvm, unicorn)] for at in (0, 1)
    )
    yield Figure("PV boot on kvm, beside Unicorn", "s", *walls)
    yield Figure("  processor time for that", "s", *processor_times)


def _wall_and_processor_time(guest: Guest) -> tuple[float, float]:
    return user_space(guest), cpu_seconds(guest.pid)


def _bounces(contest: Contest) -> Iterator[Figure]:
    """What a trap out of a program costs, into the kernel and back."""
    spec = GuestSpec(contest.images.bounces, type="pv")
    kvm, unicorn = (
        run(contest.ours, replace(spec, engine=engine), _rates) for engine in ("kvm", "unicorn")
    )
    for name, title in (
        ("syscall_bounce", "PV system call and back on kvm"),
        ("page_fault_bounce", "PV page fault and back on kvm"),
    ):
        yield Figure(title, "us", *([1e6 / rate for rate in each[name]] for each in (kvm, unicorn)))


def _rates(guest: Guest) -> dict[str, list[float]]:
    guest.wait_for(END)
    return rates(guest.console.text())


def _programs(contest: Contest) -> Iterator[Figure]:
    """Arithmetic and memory, beside the same program run on the host; and all traps of such a guest's life."""
    milliseconds = str(contest.effort.guest_ms)
    spec = GuestSpec(
        contest.images.kernel,
        contest.images.compute_ramdisk,
        f"mitigations=off quiet GBENCH_MS={milliseconds}",
        512,
        type="pv",
        engine="kvm",
    )
    guests, hosts, entries = [], [], []
    for _ in range(contest.effort.pairs):
        guests.append(run(contest.ours, spec, _rates))
        entries.append(_entries(contest) / 1e3)
        done = subprocess.run(
            [contest.images.compute_program],
            env={**os.environ, "GBENCH_MS": milliseconds},
            capture_output=True,
            text=True,
            check=True,
        )
        hosts.append(rates(done.stdout))
    for name, title, unit, scale in (
        ("integer", "PV on kvm, beside the host: integers", "M/s", 1e6),
        ("memory_sweep", "  sweeps over 64 MiB", "/s", 1.0),
        ("memory_latency", "  dependent loads all over it", "M/s", 1e6),
    ):
        ours, host = ([each[name][0] / scale for each in runs] for runs in (guests, hosts))
        yield Figure(title, unit, ours, host, _NATIVE)
    yield Figure("entries of a PV guest's life on kvm", "k", entries)


def _entries(contest: Contest) -> float:
    """How often the last domain that ended was entered."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = _COUNTS.findall(contest.ours.xl("dmesg"))
        if found:
            return float(found[-1][0])
        time.sleep(0.1)
    raise BenchError("no PV domain on KVM has told of its traps")
