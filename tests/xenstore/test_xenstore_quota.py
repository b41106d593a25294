"""What a domain may use, and that domain 0 may use all it likes."""

from __future__ import annotations

import tracemalloc

import pytest
from xenstore_harness import FakeClient, Harness, text

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import LaterMessageType, MessageType

OK = b"OK\0"


@pytest.fixture
def harness() -> Harness:
    harness = Harness()
    dom0 = harness.client()
    dom0.mkdir("/local/domain/5/data")
    dom0.set_perms("/local/domain/5/data", "n5")
    return harness


@pytest.fixture
def guest(harness: Harness) -> FakeClient:
    return harness.client(5)


def limit(harness: Harness, quota: str, value: int) -> None:
    assert harness.client().ask(LaterMessageType.SET_QUOTA, text("5", quota, str(value))) == OK


def test_nodes(harness: Harness, guest: FakeClient) -> None:
    limit(harness, "nodes", 5)
    for number in range(4):
        assert guest.mkdir(f"data/{number}") == OK
    assert guest.mkdir("data/x") == Errno.ENOSPC
    assert guest.write("data/x", "x") == Errno.ENOSPC
    assert guest.write("data/1", "x") == OK
    assert guest.rm("data/1") == OK
    assert guest.mkdir("data/x/y") == Errno.ENOSPC, "two nodes where one is left"
    assert guest.mkdir("data/x") == OK
    harness.database.check()


def test_nodes_of_a_transaction(harness: Harness, guest: FakeClient) -> None:
    limit(harness, "nodes", 3)
    transaction = guest.start()
    assert guest.mkdir("data/1", transaction) == OK
    assert guest.mkdir("data/2", transaction) == OK
    assert guest.mkdir("data/3", transaction) == Errno.ENOSPC
    harness.store.mkdir("/elsewhere/x")
    harness.client().set_perms("/elsewhere/x", "n5")
    assert guest.commit(transaction) == Errno.ENOSPC
    assert guest.directory("data") == b""


def test_nodes_that_domain_0_gives_count(harness: Harness, guest: FakeClient) -> None:
    limit(harness, "nodes", 2)
    assert harness.client().mkdir("/local/domain/5/data/a/b/c") == OK
    assert guest.mkdir("data/x") == Errno.ENOSPC


def test_watches(harness: Harness, guest: FakeClient) -> None:
    limit(harness, "watches", 2)
    assert guest.watch("/a", "1") == guest.watch("/a", "2") == OK
    assert guest.watch("/a", "3") == Errno.E2BIG
    assert guest.unwatch("/a", "1") == OK
    assert guest.watch("/a", "3") == OK


def test_transactions(harness: Harness, guest: FakeClient) -> None:
    limit(harness, "transactions", 2)
    first = guest.start()
    guest.start()
    assert guest.ask(MessageType.TRANSACTION_START, b"\0") == Errno.ENOSPC
    guest.abandon(first)
    assert guest.start() > first


def test_nodes_that_a_transaction_touches(harness: Harness, guest: FakeClient) -> None:
    limit(harness, "transaction-nodes", 4)
    transaction = guest.start()
    answers = [guest.read(f"data/{number}", transaction) for number in range(5)]
    assert answers[0] == Errno.ENOENT
    assert answers[-1] == Errno.ENOSPC
    assert guest.commit(transaction) == Errno.ENOMEM


def test_changes_of_a_transaction(harness: Harness, guest: FakeClient) -> None:
    limit(harness, "transaction-nodes", 4)
    transaction = guest.start()
    answers = [guest.write("data", "x" * number, transaction) for number in range(6)]
    assert answers == [OK, OK, OK, OK, Errno.ENOSPC, Errno.ENOSPC]
    assert guest.commit(transaction) == Errno.ENOMEM


def test_a_transaction_beyond_its_quota_takes_no_more_memory(
    harness: Harness, guest: FakeClient
) -> None:
    transaction = guest.start()

    def read_all(numbers: range) -> int:
        before, _ = tracemalloc.get_traced_memory()
        for number in numbers:
            guest.read(f"data/{number}", transaction)
        after, _ = tracemalloc.get_traced_memory()
        return after - before

    tracemalloc.start()
    read_all(range(2000))
    grown = read_all(range(2000, 6000))
    tracemalloc.stop()
    assert grown < 50_000


def test_the_size_of_a_node(harness: Harness, guest: FakeClient) -> None:
    assert guest.write("data", "x" * 2040) == OK
    assert guest.write("data", "x" * 2041) == Errno.ENOSPC
    assert guest.write("data/1", "x" * 2041) == Errno.ENOSPC
    assert guest.mkdir("data/1") == Errno.ENOSPC, "the name of the child counts"
    assert guest.write("data", "x" * 2038) == OK
    assert guest.mkdir("data/1") == OK
    limit(harness, "node-size", 0)
    assert guest.write("data", "x" * 3000) == OK


def test_permissions_of_a_node(guest: FakeClient) -> None:
    assert guest.set_perms("data", "n5", *["r1"] * 4) == OK
    assert guest.set_perms("data", "n5", *["r1"] * 5) == Errno.ENOSPC


def test_the_length_of_a_path_counts_without_the_domains_home(guest: FakeClient) -> None:
    longest = "data/" + "x" * (2048 - len("data/"))
    assert guest.read(longest) == Errno.ENOENT
    assert guest.read(f"/local/domain/5/{longest}") == Errno.ENOENT
    assert guest.read(longest + "x") == Errno.EINVAL
    assert guest.watch(longest + "x", "token") == Errno.EINVAL
    assert guest.read("/x" + longest) == Errno.EINVAL


def test_domain_0_has_no_limits(harness: Harness) -> None:
    dom0 = harness.client()
    for number in range(1500):
        assert dom0.write(f"/many/{number}", "x") == OK
    for number in range(200):
        assert dom0.watch("/many", str(number)) == OK
    assert len({dom0.start() for _ in range(50)}) == 50
    assert dom0.write("/big", "x" * 4000) == OK
    assert dom0.set_perms("/big", *["n0"] * 100) == OK


def test_the_defaults_are_for_domains_to_come(harness: Harness, guest: FakeClient) -> None:
    dom0 = harness.client()
    names = dom0.ask(LaterMessageType.GET_QUOTA)
    assert isinstance(names, bytes)
    assert {b"nodes", b"watches", b"transactions", b"node-size"} <= set(names[:-1].split())
    assert dom0.ask(LaterMessageType.SET_QUOTA, text("watches", "1")) == OK
    assert dom0.ask(LaterMessageType.GET_QUOTA, text("watches")) == b"1\0"
    assert dom0.ask(LaterMessageType.GET_QUOTA, text("5", "watches")) == b"128\0"
    late = harness.client(6)
    assert late.watch("/a", "1") == OK
    assert late.watch("/a", "2") == Errno.E2BIG


def test_a_domain_that_comes_back_starts_from_nothing(harness: Harness, guest: FakeClient) -> None:
    limit(harness, "watches", 1)
    guest.watch("/a", "1")
    transaction = guest.start()
    harness.store.release_domain(5)
    assert guest.closed
    again = harness.client(5)
    assert again.watch("/a", "1") == again.watch("/a", "2") == OK
    assert again.read("/tool", transaction) == Errno.ENOENT
    harness.database.check()


def test_control_tells_usage(harness: Harness, guest: FakeClient) -> None:
    guest.watch("/a", "1")
    answer = harness.client().ask(MessageType.CONTROL, text("quota", "5"))
    assert isinstance(answer, bytes)
    usage = dict(line.split(":") for line in answer[:-1].decode().splitlines()[1:])
    assert {name.strip(): int(used) for name, used in usage.items()} == {
        "nodes": 1,
        "watches": 1,
        "transactions": 0,
    }
