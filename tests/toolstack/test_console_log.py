"""The console log, against real files and a real full disk (a file size limit)."""

from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xenolith.toolstack import console_log
from xenolith.toolstack.console_log import ConsoleLog, Cursor


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "guest.log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield descriptor
    os.close(descriptor)


class Disk:
    """A disk that is full after some bytes: the size limit of files of this process."""

    def __init__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def fill_at(self, size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, self._before[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


@pytest.fixture
def disk() -> Iterator[Disk]:
    limited = Disk()
    yield limited
    limited.free()


def read_on(log: ConsoleLog, cursor: Cursor, chunk: int = 1 << 16) -> bytes:
    read = b""
    while data := log.read(cursor, chunk):
        read += data
    return read


def test_readers_get_the_whole_stream_each_at_its_own_pace(fd: int) -> None:
    log = ConsoleLog(fd)
    first = log.open_cursor()
    log.append(b"Linux version 6.1\r\n")
    assert log.read(first, 5) == b"Linux"
    log.append(b"login: ")
    second = log.open_cursor()
    assert read_on(log, second, 3) == b"Linux version 6.1\r\nlogin: "
    assert read_on(log, first) == b" version 6.1\r\nlogin: "
    assert read_on(log, first) == b""


def test_the_file_keeps_earlier_lives_and_readers_see_this_one(fd: int) -> None:
    ConsoleLog(fd).append(b"first life")
    log = ConsoleLog(fd)
    log.append(b"second life")
    assert read_on(log, log.open_cursor()) == b"second life"
    assert os.pread(fd, 100, 0) == b"first lifesecond life"


@pytest.fixture
def small_log(monkeypatch: pytest.MonkeyPatch) -> int:
    """How much a log keeps at most: less than usually."""
    monkeypatch.setattr(console_log, "MOST", 64 << 10)
    monkeypatch.setattr(console_log, "_STEP", 16 << 10)
    return 80 << 10


def test_a_guest_that_prints_for_ever_does_not_fill_the_disk(fd: int, small_log: int) -> None:
    os.write(fd, b"an earlier life" * 1000)
    log = ConsoleLog(fd)
    follower, sleeper = log.open_cursor(), log.open_cursor()
    printed, seen = b"", b""
    for number in range(2000):
        line = b"%0500d\r\n" % number
        printed += line
        log.append(line)
        seen += read_on(log, follower)
        assert os.fstat(fd).st_blocks * 512 <= small_log + 4096
    assert seen == printed
    assert b"is gone" in read_on(log, sleeper)[:80]
    ended = ConsoleLog.of_part(fd, 15000, 15000 + len(printed))
    for late in (log, ended):
        _, note, rest = read_on(late, late.open_cursor(), 8192).partition(b"is gone]\r\n")
        assert note and printed.endswith(rest) and len(rest) >= 64 << 10


def test_what_ended_before_all_that_is_kept_is_gone(fd: int, small_log: int) -> None:
    ConsoleLog(fd).append(b"first life")
    ConsoleLog(fd).append(bytes(200 << 10))
    first = ConsoleLog.of_part(fd, 0, 10)
    assert read_on(first, first.open_cursor()).strip().startswith(b"[xenolith: the log keeps")


def test_a_short_time_without_space_loses_nothing(fd: int, disk: Disk) -> None:
    log = ConsoleLog(fd)
    cursor = log.open_cursor()
    disk.fill_at(10)
    log.append(b"0123456789abc")
    log.append(b"def")
    assert read_on(log, cursor) == b"0123456789abcdef"
    disk.free()
    log.append(b"g")
    assert os.pread(fd, 100, 0) == b"0123456789abcdefg"
    assert read_on(log, cursor) == b"g"


def test_a_long_time_without_space_keeps_the_tail_and_says_what_is_missing(
    fd: int, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_log, "KEEP", 8)
    log = ConsoleLog(fd)
    slow, fast = log.open_cursor(), log.open_cursor()
    disk.fill_at(4)
    log.append(b"init")
    for part in (b"aaaa", b"bbbb", b"cccc", b"dddd"):
        log.append(part)
        assert part in read_on(log, fast)
    note = console_log._NOTE.format(8).encode()
    assert read_on(log, slow) == b"init" + note + b"ccccdddd"
    disk.free()
    log.append(b"eeee")
    assert os.pread(fd, 1000, 0) == b"init" + note + b"ccccddddeeee"
    assert read_on(log, slow) == read_on(log, fast) == b"eeee"


def test_a_file_truncated_by_somebody_else_is_skipped(fd: int) -> None:
    log = ConsoleLog(fd)
    cursor = log.open_cursor()
    log.append(b"gone")
    os.ftruncate(fd, 0)
    assert read_on(log, cursor) == b""
    log.append(b"!")
    assert cursor.offset == 4


STEPS = st.lists(
    st.tuples(st.binary(max_size=30), st.booleans(), st.integers(1, 40), st.integers(0, 2)),
    max_size=25,
)
"""What is printed, whether the disk is full meanwhile, then who reads how much."""


def play(
    fd: int, disk: Disk, steps: list[tuple[bytes, bool, int, int]]
) -> tuple[ConsoleLog, list[bytes]]:
    """The log after some steps, and what each of three readers has seen after reading on."""
    os.ftruncate(fd, 0)
    log, seen = ConsoleLog(fd), [b"", b"", b""]
    cursors = [log.open_cursor() for _ in seen]
    for data, full, size, reader in steps:
        disk.fill_at(os.fstat(fd).st_size + 3 if full else 1 << 20)
        log.append(data)
        seen[reader] += log.read(cursors[reader], size)
    disk.free()
    for reader, cursor in enumerate(cursors):
        seen[reader] += read_on(log, cursor)
    return log, seen


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_every_reader_sees_every_byte(
    fd: int, disk: Disk, steps: list[tuple[bytes, bool, int, int]]
) -> None:
    printed = b"".join(data for data, _, _, _ in steps)
    assert play(fd, disk, steps)[1] == [printed] * 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_the_stream_accounts_for_every_byte(
    fd: int, disk: Disk, steps: list[tuple[bytes, bool, int, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console_log, "KEEP", 20)
        dots = [(b"." * len(step[0]), *step[1:]) for step in steps]
        log, seen = play(fd, disk, dots)
    stream = read_on(log, log.open_cursor())
    missing = sum(map(int, re.findall(rb" (\d+) bytes are missing", stream)))
    assert stream.count(b".") + missing == sum(len(data) for data, _, _, _ in steps)
    assert all(stream.endswith(whole[-20:]) for whole in seen)
