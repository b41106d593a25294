"""Weights, caps and CPU pools with real guests that spin, measured by the CPU time that xl shows."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from .host import READY, Host, eventually, read_until

pytestmark = [pytest.mark.guest, pytest.mark.slow]

needs_two_cpus = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")

MEASURED_S = 12.0


def spin(host: Host, name: str, **settings: Any) -> None:
    """Start a guest that spins in user space."""
    config = host.config(name, memory=128, **settings)
    with host.running_xl("create", "-c", config, stdin=None) as console:
        read_until(console, READY)
    with host.terminal("console", name) as terminal:
        terminal.wait_for(b"# ", timeout=90)
        terminal.run("(while :; do :; done) & echo spins")


def shares(host: Host, *names: str) -> list[float]:
    """How much of a CPU each domain gets for a while."""
    before = {row.name: row.seconds for row in host.list()}
    start = time.monotonic()
    time.sleep(MEASURED_S)
    after = {row.name: row.seconds for row in host.list()}
    return [(after[name] - before[name]) / (time.monotonic() - start) for name in names]


def idle_s() -> float:
    """For how long the host's CPUs have had nothing to do."""
    ticks = int(Path("/proc/stat").read_text().split()[4])
    return ticks / os.sysconf("SC_CLK_TCK")


def check_cap(host: Host, name: str, cap: float) -> None:
    """A capped guest never gets more; it gets as much where the host has time left."""
    before = idle_s()
    (share,) = shares(host, name)
    assert share < cap + 0.05
    if idle_s() - before > 0.3 * MEASURED_S:
        assert share > cap - 0.05


def test_two_guests_on_one_cpu_share_it_by_weight(own_host: Host) -> None:
    host = own_host
    spin(host, "light", cpus="0", cpu_weight=256)
    spin(host, "heavy", cpus="0", cpu_weight=512)
    light, heavy = shares(host, "light", "heavy")
    assert 1.7 < heavy / light < 2.3, (light, heavy)
    host.xl("sched-credit", "-d", "light", "-w", 1024)
    light, heavy = shares(host, "light", "heavy")
    assert 1.7 < light / heavy < 2.3, (light, heavy)
    host.xl("sched-credit", "-d", "light", "-w", 512)
    light, heavy = shares(host, "light", "heavy")
    assert 0.85 < light / heavy < 1.18, (light, heavy)


@pytest.mark.parametrize("kind", ["pvh", "pv"])
def test_a_cap_is_kept(own_host: Host, kind: str) -> None:
    host = own_host
    spin(host, "capped", type=kind, vcpus=2, cap=50)
    check_cap(host, "capped", 0.5)
    host.xl("sched-credit", "-d", "capped", "-c", 20)
    check_cap(host, "capped", 0.2)
    # It answers all the same.
    with host.terminal("console", "capped") as terminal:
        assert terminal.run("echo here") == "here\n"


@needs_two_cpus
def test_pools_keep_guests_apart(own_host: Host) -> None:
    host = own_host
    host.xl("cpupool-cpu-remove", "Pool-0", 1)
    host.xl("cpupool-create", 'name="fast"', "cpus=[1]")
    spin(host, "web", pool="fast")
    eventually(lambda: host.xl("vcpu-list", "web").splitlines()[1].split()[3] == "1")
    assert host.xl("list", "-c", "web").split()[-1] == "fast"
    host.xl("cpupool-migrate", "web", "Pool-0")
    cpus = os.sched_getaffinity(host.domain_pid("web"))
    assert cpus == set(range(os.cpu_count() or 1)) - {1}
    refused = host.try_xl("cpupool-destroy", "Pool-0")
    assert refused.stderr == "Error: CPU pool Pool-0 is in use by web\n"
    host.xl("cpupool-destroy", "fast")
