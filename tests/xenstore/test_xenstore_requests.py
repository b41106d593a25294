"""What each request answers, to domain 0 and to others; that no bytes whatever can do harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xenstore_harness import FakeClient, Harness, text

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import (
    SOCKMSG,
    XENSTORE_ABS_PATH_MAX,
    XENSTORE_PAYLOAD_MAX,
    LaterMessageType,
    MessageType,
    SockMsg,
)
from xenolith.xenstore.protocol import encode
from xenolith.xenstore.requests import HANDLERS
from xenolith.xenstore.session import FEATURES

OK = b"OK\0"
TYPES = [int(kind) for kind in HANDLERS]


@pytest.fixture
def dom0() -> FakeClient:
    return Harness().client()


def test_relative_paths_are_below_the_domains_home() -> None:
    harness = Harness()
    harness.store.write("/local/domain/5/name", "guest")
    harness.store.set_permissions("/local/domain/5/name", harness.store.get_permissions("/"))
    guest, dom0 = harness.client(5), harness.client()
    assert guest.read("name") == Errno.EACCES
    dom0.set_perms("/local/domain/5", "n5")
    dom0.set_perms("/local/domain/5/name", "n0", "r5")
    assert guest.read("name") == guest.read("/local/domain/5/name") == b"guest"
    assert guest.write("data", "x") == OK
    assert dom0.read("/local/domain/5/data") == b"x"
    assert dom0.get_perms("/local/domain/5/data") == b"n5\0"
    assert dom0.write("vm", "y") == OK
    assert dom0.read("/local/domain/0/vm") == b"y"


@pytest.mark.parametrize(
    ("kind", "payload", "answer"),
    [
        (MessageType.READ, b"/tool", Errno.EINVAL),
        (MessageType.READ, b"", Errno.EINVAL),
        (MessageType.READ, b"/tool\0\0", Errno.EINVAL),
        (MessageType.READ, b"/tool\0", b""),
        (MessageType.READ, b"@releaseDomain\0", Errno.EINVAL),
        (MessageType.DIRECTORY, b"@releaseDomain\0", Errno.EINVAL),
        (MessageType.WRITE, b"/tool", Errno.EINVAL),
        (MessageType.WRITE, b"@releaseDomain\0x", Errno.EINVAL),
        (MessageType.WRITE, b"@x\0x", Errno.EINVAL),
        (MessageType.MKDIR, b"@x\0", Errno.EINVAL),
        (MessageType.RM, b"/\0", Errno.EINVAL),
        (MessageType.RM, b"@releaseDomain\0", Errno.EINVAL),
        (MessageType.RM, b"/tool/none\0", OK),
        (MessageType.RM, b"/none/none\0", Errno.ENOENT),
        (MessageType.DIRECTORY, b"/\0", b"tool\0"),
        (MessageType.DIRECTORY, b"/tool/xenstored\0", b""),
        (MessageType.DIRECTORY_PART, b"/tool\0", Errno.EINVAL),
        (MessageType.DIRECTORY_PART, b"/tool\0x\0", Errno.EINVAL),
        (MessageType.GET_PERMS, b"@introduceDomain\0", b"n0\0"),
        (MessageType.GET_PERMS, b"@none\0", Errno.ENOENT),
        (MessageType.GET_PERMS, b"@releaseDomain/5\0", Errno.ENOENT),
        (MessageType.SET_PERMS, b"@introduceDomain\0n0\0r5\0", OK),
        (MessageType.SET_PERMS, b"@none\0n0\0", Errno.ENOENT),
        (MessageType.SET_PERMS, b"/tool\0", Errno.EINVAL),
        (MessageType.SET_PERMS, b"/tool\0x1\0", Errno.EINVAL),
        (MessageType.SET_PERMS, b"/tool\0r\0", Errno.EINVAL),
        (MessageType.SET_PERMS, b"/tool\0r70000\0", Errno.EINVAL),
        (MessageType.SET_PERMS, b"/none\0r1\0", Errno.ENOENT),
        (MessageType.SET_PERMS, b"", Errno.EINVAL),
        (MessageType.WATCH, b"/a\0", Errno.EINVAL),
        (MessageType.WATCH, b"/a\0t\0-1\0", Errno.EINVAL),
        (MessageType.WATCH, b"/a\0t\01\0x\0", Errno.EINVAL),
        (MessageType.WATCH, b"//\0t\0", Errno.EINVAL),
        (MessageType.UNWATCH, b"/a\0t\0", Errno.ENOENT),
        (MessageType.RESET_WATCHES, b"\0", OK),
        (MessageType.WATCH_EVENT, b"/a\0t\0", Errno.ENOSYS),
        (MessageType.ERROR, b"EIO\0", Errno.ENOSYS),
        (20, b"", Errno.ENOSYS),
        (0xFFFF, b"", Errno.ENOSYS),
        (MessageType.INTRODUCE, b"5\0001\0", Errno.EINVAL),
        (MessageType.INTRODUCE, b"5\0001\x000\0", Errno.EINVAL),
        (MessageType.INTRODUCE, b"32752\0001\x001\0", Errno.EINVAL),
        (MessageType.INTRODUCE, b"5\0001\x001\0", OK),
        (MessageType.RELEASE, b"5\0", Errno.ENOENT),
        (MessageType.RELEASE, b"0\0", Errno.EINVAL),
        (MessageType.RESUME, b"5\0", Errno.ENOENT),
        (MessageType.SET_TARGET, b"5\x006\0", Errno.ENOENT),
        (MessageType.GET_DOMAIN_PATH, b"007\0", b"/local/domain/7\0"),
        (MessageType.GET_DOMAIN_PATH, b"x\0", Errno.EINVAL),
        (MessageType.IS_DOMAIN_INTRODUCED, b"5\0", b"F\0"),
        (MessageType.IS_DOMAIN_INTRODUCED, b"0\0", b"T\0"),
        (MessageType.IS_DOMAIN_INTRODUCED, b"32752\0", b"T\0"),
        (MessageType.CONTROL, b"check\0", OK),
        (MessageType.CONTROL, b"print\0hello\0", OK),
        (MessageType.CONTROL, b"print\0", Errno.EINVAL),
        (MessageType.CONTROL, b"none\0", Errno.EINVAL),
        (MessageType.CONTROL, b"", Errno.EINVAL),
        (LaterMessageType.GET_FEATURE, b"", b"%d\0" % FEATURES),
        (LaterMessageType.GET_FEATURE, b"\0", b"%d\0" % FEATURES),
        (LaterMessageType.GET_FEATURE, b"5\0", b"%d\0" % FEATURES),
        (LaterMessageType.SET_FEATURE, b"5\x0016\0", Errno.EINVAL),
        (LaterMessageType.GET_QUOTA, b"5\0nodes\0", b"1000\0"),
        (LaterMessageType.GET_QUOTA, b"none\0", Errno.EINVAL),
        (LaterMessageType.GET_QUOTA, b"nodes", Errno.EINVAL),
        (LaterMessageType.GET_QUOTA, b"5\0nodes\0x\0", Errno.EINVAL),
        (LaterMessageType.SET_QUOTA, b"nodes\0", Errno.EINVAL),
        (LaterMessageType.SET_QUOTA, b"0\0nodes\x005\0", Errno.EINVAL),
    ],
)
def test_answers_to_domain_0(
    dom0: FakeClient, kind: int, payload: bytes, answer: bytes | Errno
) -> None:
    assert dom0.ask(kind, payload) == answer


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_domain_0s_alone(kind: int) -> None:
    harness = Harness()
    harness.store.mkdir("/local/domain/5")
    harness.client().set_perms("/local/domain/5", "n5")
    shared = {*range(1, 8), *range(10, 15), 21, 22}
    refused = harness.client(5).ask(kind, b"5\0006\0007\0") == Errno.EACCES
    assert refused == (kind not in shared)


def test_help_lists_the_commands(dom0: FakeClient) -> None:
    answer = dom0.ask(MessageType.CONTROL, b"help\0")
    assert isinstance(answer, bytes)
    assert [line.split()[0] for line in answer[:-1].splitlines()] == [
        b"check",
        b"print",
        b"quota",
        b"help",
    ]


def test_check_finds_books_that_are_wrong() -> None:
    harness = Harness()
    harness.database._tree.owned[5] += 1
    assert harness.client().ask(MessageType.CONTROL, b"check\0") == Errno.EIO


def test_a_directory_too_long_for_a_message_comes_in_parts(dom0: FakeClient) -> None:
    names = [f"a-rather-long-name-{number}" for number in range(500)]
    for name in names:
        dom0.mkdir(f"/big/{name}")
    assert dom0.directory("/big") == Errno.E2BIG
    collected, generations = b"", set()
    while not collected.endswith(b"\0\0"):
        part = dom0.ask(MessageType.DIRECTORY_PART, text("/big", str(len(collected))))
        assert isinstance(part, bytes)
        assert len(part) <= XENSTORE_PAYLOAD_MAX
        generation, _, rest = part.partition(b"\0")
        generations.add(generation)
        collected += rest
    assert collected == text(*names) + b"\0"
    assert len(generations) == 1
    dom0.mkdir("/big/one-more")
    part = dom0.ask(MessageType.DIRECTORY_PART, text("/big", "0"))
    assert isinstance(part, bytes)
    assert part.partition(b"\0")[0] not in generations


def test_an_offset_behind_the_list_yields_its_end(dom0: FakeClient) -> None:
    part = dom0.ask(MessageType.DIRECTORY_PART, text("/tool", "4000000000"))
    assert isinstance(part, bytes)
    assert part.partition(b"\0")[2] == b"\0"


def test_only_the_owner_and_domain_0_set_permissions() -> None:
    harness = Harness()
    dom0, owner, other = harness.client(), harness.client(1), harness.client(2)
    dom0.write("/shared", "")
    dom0.set_perms("/shared", "b1")
    assert other.set_perms("/shared", "b2") == Errno.EACCES
    assert owner.set_perms("/shared", "b2") == Errno.EPERM
    assert owner.set_perms("/shared", "n1", "r2") == OK
    assert other.read("/shared") == b""
    assert other.write("/shared", "x") == Errno.EACCES


def test_an_entry_for_any_domain() -> None:
    harness = Harness()
    dom0, guest = harness.client(), harness.client(1)
    dom0.write("/public", "x")
    dom0.set_perms("/public", "n0", "r32757")
    assert guest.read("/public") == b"x"
    assert guest.write("/public", "y") == Errno.EACCES


def test_a_domain_acts_for_its_target() -> None:
    harness = Harness()
    dom0, stub, guest = harness.client(), harness.client(1), harness.client(2)
    dom0.write("/private", "x")
    dom0.set_perms("/private", "n2")
    assert stub.read("/private") == Errno.EACCES
    assert dom0.ask(MessageType.SET_TARGET, b"1\x002\0") == OK
    assert stub.read("/private") == b"x"
    assert stub.set_perms("/private", "n2", "r1") == OK
    assert guest.read("/private") == b"x"
    dom0.ask(MessageType.RELEASE, b"2\0")
    dom0.write("/private", "y")
    dom0.set_perms("/private", "n2")
    assert stub.read("/private") == Errno.EACCES


def test_features_are_set_before_the_introduction_only() -> None:
    harness = Harness()
    dom0 = harness.client()
    assert dom0.ask(LaterMessageType.SET_FEATURE, b"5\x003\0") == OK
    guest = harness.client(5)
    assert guest.ask(LaterMessageType.GET_FEATURE) == b"3\0"
    assert dom0.ask(LaterMessageType.GET_FEATURE, b"5\0") == b"3\0"
    assert guest.watch("/a", "t", "1") == Errno.EINVAL
    assert guest.set_perms("/tool", "n0", "r32757") == Errno.EINVAL
    assert dom0.ask(LaterMessageType.SET_FEATURE, b"5\x007\0") == Errno.EBUSY


def test_replies_come_in_the_order_of_the_requests(dom0: FakeClient) -> None:
    requests = [encode(MessageType.READ, number, 0, b"/tool\0") for number in range(50)]
    replies = dom0.send(b"".join(requests))
    assert [reply.request_id for reply in replies] == list(range(50))


def test_what_follows_a_breach_is_not_served(dom0: FakeClient) -> None:
    good = encode(MessageType.WRITE, 1, 0, b"/before\0x")
    evil = SOCKMSG.pack(SockMsg(MessageType.WRITE, 2, 0, XENSTORE_PAYLOAD_MAX + 1))
    late = encode(MessageType.WRITE, 3, 0, b"/after\0x")
    assert [reply.request_id for reply in dom0.send(good + evil + late)] == [1]
    assert dom0.connection.broken
    assert not dom0.connection.hungry


def test_nodes_may_nest_as_deep_as_a_path_is_long(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    deep = "/a" * (XENSTORE_ABS_PATH_MAX // 2)
    dom0 = harness.client()
    dom0.mkdir("/a")
    dom0.set_perms("/a", "n5")
    assert dom0.write(deep, "bottom") == OK
    transaction = dom0.start()
    assert dom0.read(deep + "/", transaction) == Errno.EINVAL
    assert dom0.rm("/a", transaction) == OK
    assert dom0.commit(transaction) == OK
    assert dom0.write(deep, "again") == OK
    dom0.set_perms("/a", "n5")
    harness.restart()
    assert harness.store.read(deep) == b"again"
    harness.client(5)
    harness.store.release_domain(5)
    assert not harness.store.exists("/a")
    harness.database.check()


PAYLOADS = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from(
            [b"/", b"/a", b"a/b", b"@releaseDomain", b"0", b"5", b"9", b"T", b"F", b"nodes", b"n5",
             b"r0", b"tok", b"check", b"4294967295", b"99999999999", b"", b"\xff", b"-1"]
        ),
        max_size=4,
    ).map(lambda parts: b"".join(part + b"\0" for part in parts)),
)  # fmt: skip


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 5]),
            st.one_of(st.sampled_from(TYPES), st.integers(0, 2**32 - 1)),
            st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1)),
            PAYLOADS,
        ),
        max_size=30,
    )
)
def test_whatever_is_sent_is_answered_once(requests: list[tuple[int, int, int, bytes]]) -> None:
    harness = Harness()
    clients = {0: harness.client(), 5: harness.client(5)}
    for domid, kind, transaction, payload in requests:
        client = clients[domid]
        if client.closed:
            continue
        replies = [
            message
            for message in client.send(encode(kind, 77, transaction, payload))
            if message.type != MessageType.WATCH_EVENT
        ]
        assert [reply.request_id for reply in replies] == [77]
        assert replies[0].type in (kind, MessageType.ERROR)
    harness.database.check()
