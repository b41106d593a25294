"""What a restart brings back, from whole journals, torn ones and foreign ones."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import zlib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xenstore_harness import FakeClient, Harness, text

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import LaterMessageType, MessageType
from xenolith.xenstore import journal as journals
from xenolith.xenstore.change import Change, ChangeKind
from xenolith.xenstore.database import Database
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.journal import MAGIC, Journal, JournalError
from xenolith.xenstore.permissions import READ, Permission

OK = b"OK\0"

CHANGES = st.builds(
    Change,
    st.sampled_from(ChangeKind),
    st.text("/abc", max_size=20),
    st.binary(max_size=20),
    st.integers(-1, 65535),
    st.integers(-1, 2**32),
)
COMMITS = st.lists(st.lists(CHANGES, min_size=1, max_size=3), max_size=5)


def written(path: Path, commits: Iterable[list[Change]]) -> bytes:
    """Append commits to a journal and return the file's content."""
    journal = Journal(str(path))
    journal.load()
    for commit in commits:
        journal.append(commit)
    journal.close()
    return path.read_bytes()


def loaded(path: Path) -> list[Change]:
    journal = Journal(str(path))
    changes = journal.load()
    journal.close()
    return changes


@given(commits=COMMITS, cut=st.integers(0, 400), data=st.data())
def test_a_torn_journal_yields_whole_commits(
    tmp_path_factory: pytest.TempPathFactory,
    commits: list[list[Change]],
    cut: int,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    content = written(path, commits)
    assert loaded(path) == [change for commit in commits for change in commit]
    path.write_bytes(content[: max(0, len(content) - cut)])
    survived = loaded(path)
    prefixes = [list(chain(*commits[:count])) for count in range(len(commits) + 1)]
    assert survived in prefixes
    late = Change(ChangeKind.WRITE, "/late")
    written(path, [[late]])
    assert loaded(path) == [*survived, late], "what is appended after a tear is found"
    damaged = bytearray(content)
    if len(damaged) > len(MAGIC):
        damaged[data.draw(st.integers(len(MAGIC), len(damaged) - 1))] ^= 0xFF
        path.write_bytes(damaged)
        assert loaded(path) in prefixes


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("something precious")
    journal = Journal(str(path))
    with pytest.raises(JournalError, match="not a journal"):
        journal.load()
    journal.close()
    assert path.read_text() == "something precious"


def test_a_journal_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    content = written(path, [])
    body = journals._CHANGE.pack(200, 0, 0, 0, 0)
    header = journals._RECORD.pack(len(body), zlib.crc32(body))
    path.write_bytes(content + header + body)
    with pytest.raises(JournalError, match="unknown kind"):
        loaded(path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    journal = Journal(path)
    program = f"from xenolith.xenstore.journal import Journal; Journal({path!r})"
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "is in use by another process" in other.stderr
    journal.close()
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_full_disk_fails_the_request_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(tmp_path)
    client = harness.client()
    assert client.write("/before", "x") == OK
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[: len(data) // 2]))
    assert client.write("/half", "x") == Errno.EIO
    assert client.watch("/", "token") == OK, "no business of the journal"

    def refuse(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    assert client.write("/none", "x") == Errno.EIO
    with pytest.raises(XenstoreError, match=r"EIO: .*journal: No space left on device"):
        harness.store.introduce_domain(5)
    monkeypatch.setattr(os, "write", real)
    assert client.write("/after", "x") == OK
    for _ in range(2):
        assert [client.read(path) for path in ("/before", "/half", "/none", "/after")] == [
            b"x",
            Errno.ENOENT,
            Errno.ENOENT,
            b"x",
        ]
        harness.restart()
        client = harness.client()
    assert harness.store.introduced_domains() == []


def test_what_the_file_system_refuses_is_said_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 5):
        journal = Journal(str(path))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(OSError, match=r".+") as refusal:
                journal.load()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert refusal.value.filename == str(path)
        assert refusal.value.strerror
        journal.close()


def compact(harness: Harness) -> None:
    journal = harness.database._journal
    assert journal is not None
    journal._compact(harness.database.state())


@pytest.fixture(params=["replayed", "compacted"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    harness = Harness(tmp_path)
    if request.param == "compacted":
        restart = harness.restart
        harness.restart = lambda: (compact(harness), restart())  # type: ignore[method-assign,assignment,func-returns-value]
    return harness


def test_nodes_and_permissions_come_back(harness: Harness) -> None:
    store = harness.store
    store.write("/", "value of the root")
    store.write("/a/b", bytes(range(256)))
    store.write("/a/c", "x")
    store.set_permissions("/a", [Permission(5, READ), Permission(6, READ)])
    store.write("/a/d/e", "inherits")
    store.set_permissions("/a/d", [Permission(0, 0)])
    store.set_permissions("@introduceDomain", [Permission(0, READ)])
    store.rm("/a/c")
    store.rm("/tool")
    before = list(harness.database._tree.state())
    harness.restart()
    assert list(harness.database._tree.state()) == before
    assert harness.store.directory("/a") == ["b", "d"]
    assert not harness.store.exists("/tool")
    harness.database.check()


def test_domains_come_back(harness: Harness) -> None:
    dom0 = harness.client()
    dom0.ask(LaterMessageType.SET_FEATURE, text("5", "3"))
    for domid in (5, 6, 7):
        harness.store.introduce_domain(domid)
    dom0.ask(MessageType.SET_TARGET, text("5", "6"))
    dom0.ask(LaterMessageType.SET_QUOTA, text("5", "nodes", "2"))
    dom0.ask(LaterMessageType.SET_QUOTA, text("watches", "9"))
    harness.store.release_domain(7)
    harness.restart()
    dom0 = harness.client()
    assert harness.store.introduced_domains() == [5, 6]
    assert dom0.ask(LaterMessageType.GET_FEATURE, text("5")) == b"3\0"
    assert dom0.ask(LaterMessageType.GET_QUOTA, text("5", "nodes")) == b"2\0"
    assert dom0.ask(LaterMessageType.GET_QUOTA, text("5", "watches")) == b"128\0"
    assert dom0.ask(LaterMessageType.GET_QUOTA, text("watches")) == b"9\0"
    assert dom0.ask(LaterMessageType.GET_QUOTA, text("8", "watches")) == b"9\0"
    dom0.write("/private", "x")
    dom0.set_perms("/private", "n6")
    assert harness.client(5).read("/private") == b"x"


def guest_with_watches(harness: Harness) -> FakeClient:
    dom0 = harness.client()
    dom0.mkdir("/local/domain/5/device")
    dom0.set_perms("/local/domain/5", "n5")
    dom0.set_perms("/local/domain/5/device", "n5")
    guest = harness.client(5)
    for path, *rest in (
        ("device", "front"),
        ("device", "flat", "0"),
        ("/local/domain/5/device", "absolute"),
        ("gone", "token"),
    ):
        assert guest.watch(path, *rest) == OK
    assert guest.unwatch("gone", "token") == OK
    guest.new_events()
    return guest


def test_watches_of_domains_come_back_and_trigger_once(harness: Harness) -> None:
    guest_with_watches(harness)
    dom0 = harness.client()
    dom0.watch("/", "lost")
    harness.restart()
    guest = harness.client(5)
    first = guest.new_events()
    own = [("device", "front"), ("device", "flat"), ("/local/domain/5/device", "absolute")]
    assert set(own) <= set(first)
    harness.store.write("/local/domain/5/device/vif", "x")
    assert guest.new_events() == [
        ("device/vif", "front"),
        ("/local/domain/5/device/vif", "absolute"),
    ]


def test_events_before_the_domain_has_reconnected_are_kept(harness: Harness) -> None:
    guest_with_watches(harness)
    harness.restart()
    harness.store.write("/local/domain/5/device/vif", "x")
    harness.store.write("/local/domain/5/device/vif", "y")
    events = harness.client(5).new_events()
    assert events.count(("device/vif", "front")) == 1


def test_events_that_a_kill_swallowed_come_after_the_restart(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    guest_with_watches(harness)
    harness.store.write("/local/domain/5/device/vif", "x")
    harness.restart()
    assert ("device/vif", "front") in harness.client(5).new_events()


def test_a_domain_may_set_a_watch_again_that_it_does_not_know_of(harness: Harness) -> None:
    guest_with_watches(harness)
    harness.restart()
    guest = harness.client(5)
    guest.new_events()
    assert guest.watch("device", "front") == OK
    assert guest.new_events() == [("device", "front")]
    assert guest.watch("device", "front") == Errno.EEXIST


def test_reset_watches_outlasts_a_restart(harness: Harness) -> None:
    guest = guest_with_watches(harness)
    assert guest.ask(MessageType.RESET_WATCHES, b"\0") == OK
    assert guest.watch("data", "only") == OK
    harness.restart()
    assert harness.client(5).new_events() == [("data", "only")]


def test_a_domains_transaction_is_to_be_repeated_after_a_restart(harness: Harness) -> None:
    guest = guest_with_watches(harness)
    lost, other = guest.start(), guest.start()
    guest.write("device/x", "lost", lost)
    harness.restart()
    guest = harness.client(5)
    assert guest.write("device/x", "lost", lost) == OK
    assert guest.read("device/x", lost) == b"lost"
    assert guest.read("device/none", lost) == Errno.ENOENT
    assert guest.commit(lost) == Errno.EAGAIN
    assert guest.read("device/x") == Errno.ENOENT
    assert guest.abandon(other) == OK
    fresh = guest.start()
    assert fresh not in (lost, other)
    assert guest.write("device/x", "found", fresh) == OK
    assert guest.commit(fresh) == OK
    assert guest.commit(fresh) == Errno.ENOENT, "that one was never lost"
    never = fresh + 100_000
    assert guest.read("device/x", never) == Errno.ENOENT


def test_lost_transactions_count_against_the_quota(harness: Harness) -> None:
    guest = guest_with_watches(harness)
    for _ in range(30):
        guest.abandon(guest.start())
    harness.restart()
    guest = harness.client(5)
    answers = [guest.read("device", number) for number in range(1, 12)]
    assert answers == [b""] * 10 + [Errno.ENOSPC]


def test_a_program_of_domain_0_has_no_lost_transactions(harness: Harness) -> None:
    lost = harness.client().start()
    harness.restart()
    assert harness.client().commit(lost) == Errno.ENOENT


def test_the_journal_stays_in_proportion(tmp_path: Path) -> None:
    harness = Harness(tmp_path)
    assert harness.journal is not None
    largest = 0
    for number in range(40_000):
        harness.store.write(f"/node/{number % 100}", "x" * 100)
        if number % 1000 == 0:
            largest = max(largest, harness.journal.stat().st_size)
    assert 1 << 20 < largest < 3 << 20
    harness.restart()
    assert len(harness.store.directory("/node")) == 100


def test_compaction_that_fails_leaves_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(tmp_path)
    harness.store.write("/a", "x")

    def refuse(_old: str, _new: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "rename", refuse)
    compact(harness)
    monkeypatch.undo()
    harness.store.write("/b", "y")
    harness.restart()
    assert (harness.store.read("/a"), harness.store.read("/b")) == (b"x", b"y")


def test_a_store_without_a_journal(tmp_path: Path) -> None:
    assert Database(None).node("/tool/xenstored") is not None
    assert list(tmp_path.iterdir()) == []
