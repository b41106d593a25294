"""CPU pools: who has which CPU, where domains run, and that a new daemon knows all of it."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from xenolith.toolstack.client import ToolstackError
from xenolith.toolstack.config_source import ConfigSource
from xenolith.toolstack.daemon import affinity
from xenolith.toolstack.daemon.cpupools import CpuPools
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.xenstore.tools.client import Client

from .host import Host, read_until

needs_two_cpus = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")


def pool(text: str, name: str = "command line") -> ConfigSource:
    return ConfigSource("", name, tuple(text.splitlines()), ("/",))


@pytest.fixture
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as context:
        context.setattr(affinity, "host_cpus", lambda: range(4))
        yield


@pytest.fixture
def pools(four_cpus: None, tmp_path: Path) -> CpuPools:
    return CpuPools(str(tmp_path / "cpupools.json"))


def test_the_first_pool_has_all_cpus(pools: CpuPools) -> None:
    assert [(pool.poolid, pool.name, set(pool.cpus)) for pool in pools] == [
        (0, "Pool-0", {0, 1, 2, 3})
    ]
    assert not pools.free_cpus


def test_a_cpu_moves_by_way_of_being_free(pools: CpuPools) -> None:
    with pytest.raises(DaemonError, match="CPU 3 is not free: it is in CPU pool Pool-0"):
        pools.create("fast", [3])
    pools.remove_cpus(pools.find("Pool-0"), frozenset({2, 3}))
    assert pools.free_cpus == {2, 3}
    fast = pools.create("fast", [3])
    assert (fast.poolid, set(pools.free_cpus)) == (1, {2})
    fast = pools.add_cpus(fast, frozenset({2, 3}))
    assert pools.find("1").cpus == pools.find("fast").cpus == {2, 3}
    pools.destroy(fast)
    assert pools.free_cpus == {2, 3}


def test_numbers_of_pools_that_are_gone_are_used_again(pools: CpuPools) -> None:
    first, second = (pools.create(name, []) for name in ("a", "b"))
    pools.destroy(first)
    assert (pools.create("c", []).poolid, second.poolid) == (1, 2)


@pytest.mark.parametrize("name", ["", "Pool-0", "a b", "7", "a\nb", "x" * 201])
def test_names_that_no_pool_can_have(pools: CpuPools, name: str) -> None:
    with pytest.raises(DaemonError, match="CPU pool"):
        pools.create(name, [])
    other = pools.create("other", [])
    with pytest.raises(DaemonError, match="CPU pool"):
        pools.rename(other, name)


def test_the_first_pool_stays_and_keeps_a_cpu(pools: CpuPools) -> None:
    with pytest.raises(DaemonError, match="is that of Domain-0"):
        pools.destroy(pools.first)
    with pytest.raises(DaemonError, match="needs a CPU for Domain-0"):
        pools.remove_cpus(pools.first, frozenset(range(4)))
    with pytest.raises(DaemonError, match="does not have CPU 9"):
        pools.remove_cpus(pools.first, frozenset({9}))
    with pytest.raises(DaemonError, match="The host has no CPU 9"):
        pools.create("fast", [9])


def test_nodes_become_pools(pools: CpuPools) -> None:
    pools.split({0: frozenset({0, 1}), 1: frozenset({2, 3})})
    assert [(pool.name, set(pool.cpus)) for pool in pools] == [
        ("Pool-node0", {0, 1}),
        ("Pool-node1", {2, 3}),
    ]
    with pytest.raises(DaemonError, match="split already"):
        pools.split({0: frozenset(range(4))})


def pool_row(**members: Any) -> str:
    row = {"poolid": 0, "name": "mine", "uuid": "1", "cpus": [0], "parameters": [5, 500, 0]}
    return json.dumps([row | members])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[[]]",
        '[{"poolid": 1}]',
        "[1]",
        "[" * 100_000,
        pool_row(poolid=[0]),
        pool_row(poolid="0"),
        pool_row(name=1),
        pool_row(cpus="0"),
        pool_row(cpus=[99]),
        pool_row(parameters=["5", "500", "0"]),
        pool_row()[:-1] + "," + pool_row(poolid="1", name="other")[1:],
    ],
)
def test_a_damaged_file_leaves_the_first_pool(
    four_cpus: None, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "cpupools.json"
    path.write_text(content)
    assert [pool.name for pool in CpuPools(str(path))] == ["Pool-0"]


def test_a_number_without_end_is_no_pool(pools: CpuPools) -> None:
    with pytest.raises(DaemonError, match="no CPU pool"):
        pools.find("9" * 5000)


class Changes(RuleBasedStateMachine):
    """Whatever is done, pools are disjoint, pool 0 has a CPU, and the file says it all."""

    def __init__(self) -> None:
        super().__init__()
        self._context = pytest.MonkeyPatch()
        self._context.setattr(affinity, "host_cpus", lambda: range(4))
        self._directory = tempfile.TemporaryDirectory()
        self._path = f"{self._directory.name}/cpupools.json"
        self.pools = CpuPools(self._path)

    def teardown(self) -> None:
        self._context.undo()
        self._directory.cleanup()

    names = st.sampled_from(["a", "b", "Pool-0", "0"])
    cpus = st.frozensets(st.integers(0, 4))

    @rule(name=names, cpus=cpus)
    def create(self, name: str, cpus: frozenset[int]) -> None:
        with contextlib.suppress(DaemonError):
            self.pools.create(name, cpus)

    @rule(name=names, cpus=cpus)
    def add(self, name: str, cpus: frozenset[int]) -> None:
        with contextlib.suppress(DaemonError):
            self.pools.add_cpus(self.pools.find(name), cpus)

    @rule(name=names, cpus=cpus)
    def remove(self, name: str, cpus: frozenset[int]) -> None:
        with contextlib.suppress(DaemonError):
            self.pools.remove_cpus(self.pools.find(name), cpus)

    @rule(name=names)
    def destroy(self, name: str) -> None:
        with contextlib.suppress(DaemonError):
            self.pools.destroy(self.pools.find(name))

    @rule(name=names, new=names)
    def rename(self, name: str, new: str) -> None:
        with contextlib.suppress(DaemonError):
            self.pools.rename(self.pools.find(name), new)

    @invariant()
    def every_cpu_is_in_one_place(self) -> None:
        all_cpus = [cpu for pool in self.pools for cpu in pool.cpus] + list(self.pools.free_cpus)
        assert sorted(all_cpus) == [0, 1, 2, 3]
        assert self.pools.first.cpus
        names = [pool.name for pool in self.pools]
        assert len(set(names)) == len(names)

    @invariant()
    def a_new_daemon_finds_the_same(self) -> None:
        if os.path.exists(self._path):
            assert list(CpuPools(self._path)) == list(self.pools)


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=30, stateful_step_count=20)


def cpus_of(host: Host, name: str) -> set[frozenset[int]]:
    threads = os.listdir(f"/proc/{host.pid_of(name)}/task")
    return {frozenset(os.sched_getaffinity(int(thread))) for thread in threads}


@needs_two_cpus
def test_domains_run_on_the_cpus_of_their_pool(host: Host) -> None:
    everything = frozenset(affinity.host_cpus())
    with host.connect() as toolstack:
        toolstack.cpus.remove_cpus_from_cpupool("Pool-0", "1")
        made = toolstack.cpus.create_cpupool(pool('name="fast"\ncpus=[1]'))
        assert (made.name, made.cpus, made.domains) == ("fast", [1], 0)
        assert toolstack.info()["free_cpus"] == "0"
        domid = toolstack.create(host.config("web", pool="fast", vcpus=2, maxvcpus=2))
        assert cpus_of(host, "xen-web") == {frozenset({1})}
        assert toolstack.cpus.cpupool("fast").domains == 1
        assert toolstack.list()[1].cpupool == "fast"
        toolstack.cpus.migrate_to_cpupool(domid, "Pool-0")
        assert cpus_of(host, "xen-web") == {everything - {1}}
        toolstack.cpus.destroy_cpupool("fast")
        assert toolstack.info()["free_cpus"] == "1"
        toolstack.cpus.add_cpus_to_cpupool("Pool-0", "all")
        assert cpus_of(host, "xen-web") == {everything}


@needs_two_cpus
def test_pins_hold_within_the_pool(host: Host) -> None:
    with host.connect() as toolstack:
        toolstack.cpus.remove_cpus_from_cpupool("Pool-0", "1")
        toolstack.cpus.create_cpupool(pool('name="fast"\ncpus="1"'))
        domid = toolstack.create(host.config("web", cpus=("0",)))
        assert cpus_of(host, "xen-web") == {frozenset({0})}
        with pytest.raises(ToolstackError, match="is in CPU pool Pool-0, which has none of"):
            toolstack.pin_vcpu(domid, 0, "1", None)
        # None of its CPUs is in the new pool: it runs on all that are.
        toolstack.cpus.migrate_to_cpupool(domid, "fast")
        assert cpus_of(host, "xen-web") == {frozenset({1})}
        toolstack.cpus.migrate_to_cpupool(domid, "0")
        assert cpus_of(host, "xen-web") == {frozenset({0})}


@needs_two_cpus
def test_pools_outlive_the_daemon_and_a_reboot(host: Host) -> None:
    with host.connect() as toolstack:
        toolstack.cpus.remove_cpus_from_cpupool("Pool-0", "1")
        toolstack.cpus.create_cpupool(pool('name="fast"\ncpus="1"'))
        domid = toolstack.create(host.config("web", pool="1"))
        before = toolstack.cpus.cpupools()
    host.kill(host.daemon_pid())
    with host.connect() as toolstack:
        assert toolstack.cpus.cpupools() == before
        toolstack.cpus.rename_cpupool("fast", "quick")
        toolstack.reboot(domid)
        successor = toolstack.wait(domid).successor
        assert successor is not None
        toolstack.unpause(successor)  # Which waits until it is built.
        assert toolstack.config(successor)["pool"] == "quick"
        assert cpus_of(host, "xen-web") == {frozenset({1})}


@needs_two_cpus
def test_what_is_left_of_a_crashed_domain_can_be_moved_and_pinned(host: Host) -> None:
    with host.connect() as toolstack:
        toolstack.cpus.remove_cpus_from_cpupool("Pool-0", "1")
        toolstack.cpus.create_cpupool(pool('name="fast"\ncpus=[1]'))
        domid = toolstack.create(host.config("web", on_crash="preserve"))
        host.kill(host.pid_of("xen-web"))
        assert toolstack.wait(domid).preserved
        toolstack.cpus.migrate_to_cpupool(domid, "fast")
        toolstack.pin_vcpu(domid, None, "1", None)
        toolstack.cpus.set_credit(domid, 512, 10)
        assert toolstack.list()[1].cpupool == "fast"
        toolstack.destroy(domid)
        toolstack.cpus.destroy_cpupool("fast")


@needs_two_cpus
def test_where_domains_would_rather_run(host: Host) -> None:
    """Linux has no such wish: what can be seen is that the process may run everywhere, and where it is."""
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", cpus_soft=("1",)))
        assert cpus_of(host, "xen-web") == {frozenset(affinity.host_cpus())}
        assert toolstack.vcpus(domid)[0].soft_affinity == "1"


def test_xenstore_names_the_pools(host: Host) -> None:
    with (
        host.connect() as toolstack,
        contextlib.closing(Client.connect(toolstack.info()["xenstored_socket"])) as store,
    ):
        assert store.read("/local/pool/0/name") == b"Pool-0"
        toolstack.cpus.create_cpupool(pool('name="empty"'))
        assert store.read("/local/pool/1/name") == b"empty"
        toolstack.cpus.rename_cpupool("Pool-0", "main")
        assert store.read("/local/pool/0/name") == b"main"
        assert toolstack.list()[0].cpupool == "main"
        toolstack.cpus.destroy_cpupool("empty")
        assert store.directory("/local/pool") == ["0"]


def test_what_cannot_be_is_refused(host: Host) -> None:
    with host.connect() as toolstack:
        toolstack.cpus.create_cpupool(pool('name="empty"'))
        with pytest.raises(ToolstackError, match="CPU pool empty has no CPU for domain web"):
            toolstack.create(host.config("web", pool="empty"))
        with pytest.raises(ToolstackError, match="key 'pool': There is no CPU pool nowhere"):
            toolstack.create(host.config("web", pool="nowhere"))
        domid = toolstack.create(host.config("web"))
        with pytest.raises(ToolstackError, match="CPU pool empty has no CPU for domain 1"):
            toolstack.cpus.migrate_to_cpupool(domid, "empty")
        with pytest.raises(ToolstackError, match="CPU pool Pool-0 is in use by web"):
            toolstack.cpus.destroy_cpupool("Pool-0")
        with pytest.raises(ToolstackError, match="CPU pool Pool-0 needs a CPU for web"):
            toolstack.cpus.remove_cpus_from_cpupool("Pool-0", "all")
        with pytest.raises(ToolstackError, match="Domain-0 is the host itself"):
            toolstack.cpus.migrate_to_cpupool(0, "empty")
        assert toolstack.config(domid)["pool"] == "Pool-0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cpus=[1]", "command line: key 'name': missing: a CPU pool needs a name"),
        ('name="p"; sched="rtds"', "there is no scheduler but credit, so not 'rtds'"),
        ('name="p"; cpu=[1]', "key 'cpu': unknown key, those of a CPU pool are name, sched"),
        ('name="p"; cpus=["x"]', "key 'cpus': expected a number, not 'x'"),
        ('name="p"; cpus="x"', "'x' is not a CPU or a range of CPUs"),
        ('name="p"; nodes=[99]', "None of the CPUs of these nodes is free"),
        ('name="p', "command line"),
    ],
)
def test_mistakes_in_a_pool_s_configuration(host: Host, text: str, message: str) -> None:
    with host.connect() as toolstack:
        with pytest.raises(ToolstackError, match=message.replace("[", r"\[")):
            toolstack.cpus.create_cpupool(pool(text))
        assert [pool.name for pool in toolstack.cpus.cpupools()] == ["Pool-0"]


def test_a_pool_without_a_name_is_called_after_its_file(host: Host) -> None:
    with host.connect() as toolstack:
        source = pool("cpus=[]", "/etc/xen/pools/web")
        assert toolstack.cpus.load_cpupool(source).name == "web"
        assert len(toolstack.cpus.cpupools()) == 1
        assert toolstack.cpus.create_cpupool(source).name == "web"


def test_parameters_of_a_pool_reach_its_domains(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", "orders"))
        with toolstack.console(domid) as console:
            read_until(console, b"slices: 5000000 500000\n")
            toolstack.cpus.set_cpupool_parameters("Pool-0", 10, None, None)
            read_until(console, b"slices: 10000000 500000\n")
        assert toolstack.cpus.cpupool("Pool-0")[-3:] == (10, 500, 0)
        for wrong in ((0, None, None), (None, 99, None), (1, 2000, None), (None, None, 10**6)):
            with pytest.raises(ToolstackError):
                toolstack.cpus.set_cpupool_parameters("Pool-0", *wrong)
        assert toolstack.cpus.cpupool("Pool-0")[-3:] == (10, 500, 0)
