"""Pinning: xl's lists of CPUs, and where the threads of a domain's process may run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.toolstack.client import Toolstack, ToolstackError
from xenolith.toolstack.daemon import affinity
from xenolith.toolstack.daemon.errors import DaemonError

from .host import Host

needs_two_cpus = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as context:
        context.setattr(affinity, "host_cpus", lambda: range(8))
        yield


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("all", "all"),
        ("0-7", "all"),
        ("3", "3"),
        ("0-3,^1", "0,2-3"),
        ("all, ^0", "1-7"),
        ("5,1,2,7,6", "1-2,5-7"),
        ("2-100", "2-7"),
        ("^3,3", "3"),
    ],
)
def test_lists(text: str, shown: str) -> None:
    assert affinity.show(affinity.parse(text)) == shown


@pytest.mark.parametrize("text", ["", "x", "1-", "0,^0", "9999", "7-3", "nodes:999", "1;2"])
def test_lists_that_name_no_cpu(text: str) -> None:
    with pytest.raises(DaemonError):
        affinity.parse(text)


@given(st.sets(st.integers(0, 7), min_size=1))
def test_what_is_shown_can_be_read(cpus: set[int]) -> None:
    with pytest.MonkeyPatch.context() as context:
        context.setattr(affinity, "host_cpus", lambda: range(8))
        assert affinity.parse(affinity.show(frozenset(cpus))) == cpus


def test_nodes_are_those_of_the_host() -> None:
    if not Path("/sys/devices/system/node/node0").exists():
        pytest.skip("the host shows no NUMA nodes")
    assert affinity.parse("node:0") <= set(affinity.host_cpus())


def threads_affinity(host: Host, name: str) -> set[frozenset[int]]:
    threads = os.listdir(f"/proc/{host.pid_of(name)}/task")
    return {frozenset(os.sched_getaffinity(int(thread))) for thread in threads}


def shown(toolstack: Toolstack, domid: int) -> list[tuple[str, str]]:
    return [(vcpu.hard_affinity, vcpu.soft_affinity) for vcpu in toolstack.vcpus(domid)]


@needs_two_cpus
def test_the_process_runs_where_its_vcpus_may(host: Host) -> None:
    every = frozenset(affinity.host_cpus())
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", vcpus=2, maxvcpus=2, cpus=("1",) * 2))
        assert threads_affinity(host, "xen-web") == {frozenset({1})}
        assert shown(toolstack, domid) == [("1", "all")] * 2
        assert {vcpu.cpu for vcpu in toolstack.vcpus(domid)} == {1}
        toolstack.pin_vcpu(domid, 0, "0", "1")
        assert shown(toolstack, domid) == [("0", "1"), ("1", "all")]
        assert threads_affinity(host, "xen-web") == {frozenset({0, 1})}
        toolstack.pin_vcpu(domid, None, "0", None)
        assert shown(toolstack, domid) == [("0", "1"), ("0", "all")]
        assert threads_affinity(host, "xen-web") == {frozenset({0})}
        toolstack.pin_vcpu(domid, None, "all", "all")
        assert shown(toolstack, domid) == [("all", "all")] * 2
        assert threads_affinity(host, "xen-web") == {every}


@needs_two_cpus
def test_pins_outlive_the_daemon(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        toolstack.pin_vcpu(domid, 0, "1", None)
    host.kill(host.daemon_pid())
    with host.connect() as toolstack:
        assert shown(toolstack, domid) == [("1", "all")]


def test_what_cannot_be_is_refused(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        for vcpu, cpus in ((1, "0"), (0, "9999"), (0, "zero")):
            with pytest.raises(ToolstackError):
                toolstack.pin_vcpu(domid, vcpu, cpus, None)
        with pytest.raises(ToolstackError, match="host itself"):
            toolstack.pin_vcpu(0, 0, "0", None)
        assert shown(toolstack, domid) == [("all", "all")]
        with pytest.raises(
            ToolstackError, match="mail cannot be created: key 'cpus': '9999' names"
        ):
            toolstack.create(host.config("mail", cpus=("9999",)))
        assert [domain.name for domain in toolstack.list()] == ["Domain-0", "web"]


def test_the_feature_words_are_the_processors(host: Host) -> None:
    """Bits of CPUID that Linux names in /proc/cpuinfo."""
    flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    with host.connect() as toolstack:
        words = [int(word, 16) for word in toolstack.info()["hw_caps"].split(":")]
    assert len(words) == 8
    for name, word, bit in (
        ("sse2", 0, 26), ("htt" if "htt" in flags else "ht", 0, 28), ("sse4_2", 1, 20),
        ("lm", 2, 29), ("nx", 2, 20), ("lahf_lm", 3, 0), ("xsaveopt", 4, 0), ("avx2", 5, 5),
        ("bmi1", 5, 3), ("umip", 6, 2),
    ):  # fmt: skip
        if name in flags:
            assert words[word] >> bit & 1, name
