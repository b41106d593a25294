"""Transactions: isolated, atomic, and equal to some serial order or refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xenstore_harness import FakeClient, Harness, Reply, text

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import MessageType

OK = b"OK\0"

Operation = tuple[MessageType, bytes]

PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(
    lambda names: "/" + "/".join(names)
)
OPERATIONS = st.one_of(
    PATHS.map(lambda path: (MessageType.READ, text(path))),
    PATHS.map(lambda path: (MessageType.DIRECTORY, text(path))),
    PATHS.map(lambda path: (MessageType.GET_PERMS, text(path))),
    PATHS.map(lambda path: (MessageType.MKDIR, text(path))),
    PATHS.map(lambda path: (MessageType.RM, text(path))),
    st.builds(
        lambda path, value: (MessageType.WRITE, text(path) + value.encode()),
        PATHS,
        st.sampled_from(["x", "y"]),
    ),
    st.builds(
        lambda path, entry: (MessageType.SET_PERMS, text(path, entry)),
        PATHS,
        st.sampled_from(["n0", "b0", "b1"]),
    ),
)
READERS = (MessageType.READ, MessageType.DIRECTORY, MessageType.GET_PERMS)
STEPS = st.lists(st.tuples(st.integers(0, 3), OPERATIONS), max_size=14)
ENDS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 14)), max_size=4)


def prepared() -> Harness:
    harness = Harness()
    harness.store.write("/a/b", "1")
    harness.store.write("/b/a/a", "2")
    return harness


def dump(harness: Harness) -> list[tuple[object, ...]]:
    tree = harness.database._tree
    return [(path, node.value, node.permissions) for path, node, _ in tree.walk()]


def perform(client: FakeClient, operation: Operation, transaction: int) -> Reply:
    kind, payload = operation
    return client.ask(kind, payload, transaction)


@settings(max_examples=300)
@given(domid=st.sampled_from([0, 1]), steps=STEPS, ends=ENDS)
def test_what_commits_is_as_if_done_at_once(
    domid: int, steps: list[tuple[int, Operation]], ends: list[tuple[int, int]]
) -> None:
    """Actor 0 works without transaction; 1 to 3 have one each, which may end early."""
    harness, serial = prepared(), prepared()
    client, replayer = harness.client(domid), serial.client(domid)
    transactions = {actor: client.start() for actor in (1, 2, 3)}
    done: dict[int, list[tuple[Operation, Reply]]] = {actor: [] for actor in transactions}

    def end(actor: int) -> None:
        if client.commit(transactions.pop(actor)) == OK:
            for operation, answer in done[actor]:
                assert perform(replayer, operation, 0) == answer

    for index, (actor, operation) in enumerate(steps):
        for ending, when in ends:
            if when == index and ending in transactions:
                end(ending)
        answer = perform(client, operation, transactions.get(actor, 0))
        if actor in transactions:
            done[actor].append((operation, answer))
        else:
            assert perform(replayer, operation, 0) == answer
    for actor in list(transactions):
        end(actor)
    assert dump(harness) == dump(serial)
    harness.database.check()


def touched(operation: Operation) -> str:
    return operation[1].split(b"\0")[0].decode()


@settings(max_examples=200)
@given(
    first=st.lists(OPERATIONS, min_size=1, max_size=4),
    second=st.lists(OPERATIONS, min_size=1, max_size=4),
)
def test_a_conflicting_pair_never_commits_twice(
    first: list[Operation], second: list[Operation]
) -> None:
    harness = prepared()
    client = harness.client()
    one, two = client.start(), client.start()
    written = {
        touched(operation)
        for operation in first
        if perform(client, operation, one) == OK and operation[0] not in READERS
    }
    seen = set()
    for operation in second:
        perform(client, operation, two)
        seen.add(touched(operation))
    before = {node[0]: node for node in dump(harness)}
    assert client.commit(one) == OK
    changed = {node[0] for node in dump(harness) if before.get(node[0]) != node}
    changed |= before.keys() - {node[0] for node in dump(harness)}
    if written & seen & changed:
        assert client.commit(two) == Errno.EAGAIN


def test_transactions_that_touch_different_nodes_all_commit() -> None:
    client = prepared().client()
    one, two = client.start(), client.start()
    assert client.write("/a/b", "one", one) == OK
    assert client.read("/b/a/a", two) == b"2"
    assert client.write("/b/a/a", "two", two) == OK
    assert client.write("/tool/other", "direct") == OK
    assert client.commit(two) == OK
    assert client.commit(one) == OK
    assert (client.read("/a/b"), client.read("/b/a/a")) == (b"one", b"two")


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ((MessageType.READ, b"/a/b\0"), (MessageType.WRITE, b"/a/b\0new")),
        ((MessageType.READ, b"/a/b\0"), (MessageType.RM, b"/a/b\0")),
        ((MessageType.READ, b"/a/x\0"), (MessageType.WRITE, b"/a/x\0new")),
        ((MessageType.WRITE, b"/a/b\0mine"), (MessageType.WRITE, b"/a/b\0new")),
        ((MessageType.DIRECTORY, b"/a\0"), (MessageType.MKDIR, b"/a/x\0")),
        ((MessageType.DIRECTORY, b"/a\0"), (MessageType.RM, b"/a/b\0")),
        ((MessageType.GET_PERMS, b"/a\0"), (MessageType.SET_PERMS, b"/a\0n5\0")),
        ((MessageType.RM, b"/b\0"), (MessageType.WRITE, b"/b/a/a\0new")),
        ((MessageType.RM, b"/b\0"), (MessageType.MKDIR, b"/b/a/a/new\0")),
        ((MessageType.MKDIR, b"/b/new/x\0"), (MessageType.RM, b"/b\0")),
    ],
)
def test_what_conflicts(inside: Operation, outside: Operation) -> None:
    client = prepared().client()
    transaction = client.start()
    assert isinstance(perform(client, inside, transaction), (bytes, Errno))
    assert perform(client, outside, 0) == OK
    assert client.commit(transaction) == Errno.EAGAIN


def test_a_transaction_sees_the_past_and_itself() -> None:
    client = prepared().client()
    transaction = client.start()
    client.write("/a/b", "later")
    assert client.read("/a/b", transaction) == b"1"
    client.write("/a/c", "mine", transaction)
    assert client.read("/a/c", transaction) == b"mine"
    assert client.read("/a/c") == Errno.ENOENT
    assert client.directory("/a", transaction) == b"b\0c\0"


def test_an_abandoned_transaction_leaves_nothing() -> None:
    client = prepared().client()
    transaction = client.start()
    client.rm("/a", transaction)
    assert client.abandon(transaction) == OK
    assert client.read("/a/b") == b"1"
    assert client.read("/a/b", transaction) == Errno.ENOENT


def test_watches_hear_of_a_transaction_when_it_commits() -> None:
    harness = prepared()
    watcher, client = harness.client(), harness.client()
    watcher.watch("/a", "t")
    watcher.new_events()
    transaction = client.start()
    client.write("/a/b", "x", transaction)
    client.write("/a/b", "y", transaction)
    client.rm("/a/b", transaction)
    client.write("/a/c", "z", transaction)
    assert watcher.new_events() == []
    client.commit(transaction)
    assert watcher.new_events() == [("/a/b", "t"), ("/a/c", "t")]


def test_transactions_do_not_nest_and_belong_to_their_client() -> None:
    harness = prepared()
    client, other = harness.client(), harness.client()
    transaction = client.start()
    assert client.ask(MessageType.TRANSACTION_START, b"\0", transaction) == Errno.EBUSY
    assert other.read("/a/b", transaction) == Errno.ENOENT
    assert client.ask(MessageType.TRANSACTION_END, b"X\0", transaction) == Errno.EINVAL
    assert client.commit(0) == Errno.ENOENT


def in_a_block(harness: Harness, action: Callable[[], None]) -> None:
    with harness.store.transaction() as nodes:
        nodes.write("/a/b", "block")
        nodes.write("/a/new", "block")
        action()


def test_a_block_of_the_python_api_commits_at_its_end() -> None:
    harness = prepared()
    in_a_block(harness, lambda: None)
    assert (harness.store.read("/a/b"), harness.store.read("/a/new")) == (b"block", b"block")


def test_a_block_that_raises_commits_nothing() -> None:
    harness = prepared()

    def fail() -> None:
        assert harness.store.read("/a/b") == b"1"
        raise KeyError

    with pytest.raises(KeyError):
        in_a_block(harness, fail)
    assert not harness.store.exists("/a/new")
