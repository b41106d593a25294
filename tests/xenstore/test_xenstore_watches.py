"""Which watches fire, with which path, for whom."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xenstore_harness import FakeClient, Harness, text

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import XENSTORE_PAYLOAD_MAX, LaterMessageType, MessageType
from xenolith.xenstore.connection import OUTPUT_MAX
from xenolith.xenstore.permissions import READ, Permission

OK = b"OK\0"
NAMES = st.lists(st.sampled_from("ab"), max_size=3)


@pytest.fixture
def harness() -> Harness:
    return Harness()


def watching(harness: Harness, path: str, *depth: str, domid: int = 0) -> FakeClient:
    """A client that watches one path and has seen the first event."""
    client = harness.client(domid)
    assert client.watch(path, "token", *depth) == OK
    assert client.new_events() == [(path, "token")]
    return client


def test_the_reply_comes_before_the_first_event(harness: Harness) -> None:
    client = harness.client()
    request = text("/a", "token")
    client.connection.receive(b"".join([_header(MessageType.WATCH, len(request)), request]))
    client.connection.serve(1)
    assert [message.type for message in client.pull()] == [
        MessageType.WATCH,
        MessageType.WATCH_EVENT,
    ]


def _header(kind: int, length: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in (kind, 0, 0, length))


@given(NAMES, NAMES, st.one_of(st.none(), st.integers(0, 4)))
def test_a_watch_covers_what_is_below_it_down_to_its_depth(
    watched: list[str], changed: list[str], depth: int | None
) -> None:
    harness = Harness()
    path, event = "/" + "/".join(watched), "/" + "/".join([*changed, "x"])
    client = watching(harness, path, *([] if depth is None else [str(depth)]))
    harness.store.write(event, "value")
    levels = len(changed) + 1 - len(watched)
    below = (*changed, "x")[: len(watched)] == tuple(watched)
    heard = below and (depth is None or levels <= depth)
    assert client.new_events() == ([(event, "token")] if heard else [])


def test_every_change_fires(harness: Harness) -> None:
    client, dom0 = watching(harness, "/a"), harness.client()
    dom0.mkdir("/a/b")
    dom0.mkdir("/a/b")
    dom0.write("/a/b", "x")
    assert client.new_events() == [("/a/b", "token")]
    dom0.set_perms("/a/b", "r0")
    assert client.new_events() == [("/a/b", "token")]
    dom0.read("/a/b")
    dom0.rm("/a/none")
    assert client.new_events() == []


def test_a_removal_fires_for_the_watches_below(harness: Harness) -> None:
    harness.store.write("/a/b/c", "x")
    above, same = watching(harness, "/"), watching(harness, "/a")
    below, absent = watching(harness, "/a/b/c"), watching(harness, "/a/b/d")
    harness.store.rm("/a")
    assert above.new_events() == same.new_events() == [("/a", "token")]
    assert below.new_events() == [("/a/b/c", "token")]
    assert absent.new_events() == []


def test_a_relative_watch_yields_relative_paths(harness: Harness) -> None:
    harness.store.write("/local/domain/5/device", "")
    harness.client().set_perms("/local/domain/5/device", "n5")
    guest = watching(harness, "device", domid=5)
    assert guest.watch("/local/domain/5/device", "token") == Errno.EEXIST
    assert guest.watch("/local/domain/5/device", "absolute") == OK
    guest.new_events()
    harness.store.write("/local/domain/5/device/vif/0", "x")
    assert guest.new_events() == [
        ("device/vif/0", "token"),
        ("/local/domain/5/device/vif/0", "absolute"),
    ]


def test_unwatch_ends_a_watch_by_path_and_token(harness: Harness) -> None:
    client = watching(harness, "/a")
    client.watch("/a", "other")
    assert client.unwatch("/a", "none") == Errno.ENOENT
    assert client.unwatch("/a", "token") == OK
    client.new_events()
    harness.store.write("/a", "x")
    assert client.new_events() == [("/a", "other")]


def test_only_those_who_may_read_hear(harness: Harness) -> None:
    dom0 = harness.client()
    dom0.write("/secret/deep", "x")
    guest = watching(harness, "/secret", domid=5)
    dom0.write("/secret/deep", "y")
    assert guest.new_events() == []
    dom0.set_perms("/secret/deep", "n0", "r5")
    assert guest.new_events() == [("/secret/deep", "token")]
    dom0.set_perms("/secret/deep", "n0")
    assert guest.new_events() == [("/secret/deep", "token")], "could read it until then"
    dom0.set_perms("/secret/deep", "n0", "r5")
    guest.new_events()
    dom0.rm("/secret")
    assert guest.new_events() == [], "/secret itself could never be read"


def test_the_end_of_a_readable_node_is_heard(harness: Harness) -> None:
    dom0 = harness.client()
    dom0.write("/secret/deep", "x")
    dom0.set_perms("/secret/deep", "n0", "r5")
    guest = watching(harness, "/secret/deep", domid=5)
    dom0.rm("/secret")
    assert guest.new_events() == [("/secret/deep", "token")]


def test_what_waits_unread_is_not_repeated(harness: Harness) -> None:
    client = watching(harness, "/a")
    for value in "xyz":
        harness.store.write("/a/b", value)
    harness.store.write("/a/c", "x")
    harness.store.write("/a/b", "x")
    assert client.new_events() == [("/a/b", "token"), ("/a/c", "token")]
    harness.store.write("/a/b", "x")
    assert client.new_events() == [("/a/b", "token")]


def test_special_watches(harness: Harness) -> None:
    plain, deep = watching(harness, "@introduceDomain"), watching(harness, "@introduceDomain", "1")
    flat = watching(harness, "@introduceDomain", "0")
    gone, one = watching(harness, "@releaseDomain"), watching(harness, "@releaseDomain/5")
    harness.store.introduce_domain(5)
    harness.store.introduce_domain(5)
    harness.store.introduce_domain(6)
    assert plain.new_events() == [("@introduceDomain", "token")] * 2
    assert deep.new_events() == [(f"@introduceDomain/{domid}", "token") for domid in (5, 6)]
    harness.store.release_domain(6)
    harness.store.announce_shutdown(5)
    harness.store.announce_shutdown(5)
    assert gone.new_events() == [("@releaseDomain", "token")] * 2
    assert one.new_events() == [("@releaseDomain/5", "token")]
    assert harness.client().ask(MessageType.RESUME, b"5\0") == OK
    harness.store.announce_shutdown(5)
    harness.store.release_domain(5)
    assert gone.new_events() == [("@releaseDomain", "token")] * 2
    assert flat.new_events() == []


def test_special_watches_need_permission(harness: Harness) -> None:
    introduced = watching(harness, "@introduceDomain", domid=5)
    released = watching(harness, "@releaseDomain", domid=6)
    harness.store.introduce_domain(7)
    harness.store.release_domain(7)
    assert introduced.new_events() == []
    assert released.new_events() == [("@releaseDomain", "token")], "everybody may, by default"
    harness.store.set_permissions("@introduceDomain", [Permission(0, 0), Permission(5, READ)])
    introduced.new_events()
    harness.store.introduce_domain(7)
    assert introduced.new_events() == [("@introduceDomain", "token")]


def test_reset_watches_ends_watches_and_transactions(harness: Harness) -> None:
    client = watching(harness, "/a")
    transaction = client.start()
    assert client.ask(MessageType.RESET_WATCHES, b"\0") == OK
    harness.store.write("/a", "x")
    assert client.new_events() == []
    assert client.read("/a", transaction) == Errno.ENOENT


def test_an_event_too_long_for_a_message_names_the_watched_path(harness: Harness) -> None:
    client = harness.client()
    token = "t" * (XENSTORE_PAYLOAD_MAX - len("/a") - 2)
    assert client.watch("/a", token) == OK
    client.new_events()
    harness.store.write("/a/b", "x")
    assert client.new_events() == [("/a", token)]


def test_a_client_that_never_reads_is_given_up(harness: Harness) -> None:
    client = harness.client()
    client.watch("/", "t" * 1000)
    client.new_events()
    for number in range(OUTPUT_MAX // 1000):
        assert not client.connection.broken
        harness.store.write(f"/a/{number}", "x")
        if client.connection.broken:
            break
    assert client.connection.broken
    assert not client.connection.pending


def test_requests_are_not_served_while_replies_pile_up(harness: Harness) -> None:
    guest = harness.client(5)
    guest.connection.receive(
        b"".join(_header(MessageType.RESET_WATCHES, 1) + b"\0" for _ in range(100))
    )
    guest.connection.serve(100)
    assert not guest.connection.busy
    assert not guest.connection.hungry
    assert len(guest.pull()) == 20
    assert guest.connection.busy
    harness.client().ask(LaterMessageType.SET_QUOTA, text("5", "outstanding", "7"))
    guest.connection.serve(100)
    assert len(guest.pull()) == 7


def test_callbacks_of_the_python_api(harness: Harness) -> None:
    heard: list[str] = []
    watch = harness.store.watch("/a", heard.append)
    assert heard == [], "not inside the call"
    harness.run_deferred()
    assert heard == ["/a"]
    harness.store.write("/a/b", "x")
    harness.run_deferred()
    assert heard == ["/a", "/a/b"]
    harness.store.write("/a/b", "y")
    harness.store.unwatch(watch)
    harness.run_deferred()
    assert heard == ["/a", "/a/b"], "not after the watch has ended"


def test_a_callback_may_change_the_store(harness: Harness) -> None:
    def echo(path: str) -> None:
        if not harness.store.exists("/a/echo"):
            harness.store.write("/a/echo", path)

    harness.store.watch("/a", echo)
    harness.run_deferred()
    assert harness.store.read("/a/echo") == b"/a"


def test_many_watches_elsewhere_cost_nothing(harness: Harness) -> None:
    def rate() -> float:
        begin = time.perf_counter()
        for number in range(2000):
            harness.store.write("/busy/node", str(number))
        return time.perf_counter() - begin

    before = min(rate() for _ in range(3))
    for number in range(10_000):
        harness.store.watch(f"/quiet/{number}", lambda _path: None)
    assert min(rate() for _ in range(3)) < 3 * before
