"""The menu on a terminal: what is shown, which keys do what, and when nobody is there."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.bootloader.errors import BootError
from xenolith.bootloader.grub.config import script_menu
from xenolith.bootloader.keys import Key, Keyboard
from xenolith.bootloader.menu import Boot, Menu
from xenolith.bootloader.menu_screen import MenuScreen
from xenolith.bootloader.volumes import FileRef

from .memory import volume, volumes

UP, DOWN, RIGHT, LEFT, ENTER, ESCAPE = b"\x1b[A", b"\x1bOB", b"\x1b[C", b"\x1b[D", b"\r", b"\x1b"
HOME, END = b"\x1b[H", b"\x1b[4~"

SCRIPT = """\
set timeout=${seconds}
set default="1>inner"
menuentry First { linux /k first; }
submenu More {
  menuentry Outer { linux /k outer; }
  menuentry Inner --id inner { linux /k inner; }
}
menuentry Windows { chainloader +1; }
menuentry 'Evil \x1b]0;title\x07' { linux /k evil; }
"""


def menu_of(seconds: str = "-1") -> Menu:
    here = volume({})
    script = SCRIPT.replace("${seconds}", seconds)
    return script_menu(script, FileRef(here, "/grub/grub.cfg"), volumes(here))


class Shown:
    """Somebody at the other end, who types and looks."""

    def __init__(self, menu: Menu, columns: int = 80, rows: int = 24) -> None:
        self.ours, theirs = socket.socketpair()
        self._theirs = theirs
        self.outcome: Boot | BootError | None = None
        screen = MenuScreen(theirs.fileno(), columns, rows)

        def choose() -> None:
            try:
                self.outcome = screen.choose(menu)
            except BootError as error:
                self.outcome = error
            finally:
                theirs.close()

        self._thread = threading.Thread(target=choose, daemon=True)
        self._thread.start()
        self.seen = ""

    def wait_for(self, wanted: str) -> str:
        self.ours.settimeout(10)
        while wanted not in self.seen:
            data = self.ours.recv(1 << 16)
            assert data, (wanted, self.seen[-500:])
            self.seen += data.decode(errors="replace")
        shown = self.seen
        return shown

    def type(self, *keys: bytes) -> None:
        for key in keys:
            self.ours.sendall(key)
            if key == ESCAPE:
                time.sleep(0.1)

    def end(self) -> Boot | BootError:
        if self.ours.fileno() >= 0:
            self.ours.settimeout(10)
            while data := self.ours.recv(1 << 16):
                self.seen += data.decode(errors="replace")
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.ours.close()
        assert self.outcome is not None
        return self.outcome


def arguments(outcome: Boot | BootError) -> str:
    assert isinstance(outcome, Boot), outcome
    return outcome.arguments


def test_what_is_shown() -> None:
    shown = Shown(menu_of())
    seen = shown.wait_for("gives up.")
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line).rstrip() for line in seen.split("\r\n")]
    assert lines[:6] == [
        "pygrub",
        "",
        "   First",
        " * More >",
        "   Windows",
        "   Evil ?]0;title?",
    ]
    assert "boots in" not in seen
    assert "\x1b]" not in seen
    shown.type(b"q")
    assert str(shown.end()) == "the menu was left without a choice"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([UP, ENTER], "first"),
        ([UP, UP, UP, ENTER], "first"),
        ([b"k", RIGHT], "first"),
        ([ENTER, ENTER], "inner"),
        ([ENTER, UP, ENTER], "outer"),
        ([RIGHT, HOME, ENTER], "outer"),
        ([ENTER, ESCAPE, HOME, ENTER], "first"),
        ([ENTER, LEFT, UP, b"\n"], "first"),
        ([END, ENTER], "evil"),
        ([DOWN, DOWN, DOWN, DOWN, ENTER], "evil"),
        ([b"\x10", b"\x0e", ENTER, ENTER], "inner"),
        ([ESCAPE, b"x", b"\x1b[99~", UP, ENTER], "first"),
    ],
)
def test_keys(keys: list[bytes], expected: str) -> None:
    shown = Shown(menu_of())
    shown.wait_for("gives up.")
    shown.type(*keys)
    assert arguments(shown.end()) == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([b" more", ENTER], "first more"),
        ([HOME, b"pre-", ENTER], "pre-first"),
        ([b"\x7f\x7f", ENTER], "fir"),
        ([LEFT, LEFT, b"\x1b[3~", ENTER], "firt"),
        ([b"\x01\x0b", b"new", ENTER], "new"),
        ([LEFT, b"\x15", ENTER], "t"),
        ([b"\x02\x02\x06-", ENTER], "firs-t"),
        ([END, "ü".encode(), ENTER], "firstü"),
        ([ESCAPE, ENTER], "first"),
        ([b"x" * 200, ENTER], "first" + "x" * 200),
    ],
)
def test_the_editor(keys: list[bytes], expected: str) -> None:
    shown = Shown(menu_of())
    shown.wait_for("gives up.")
    shown.type(UP, b"e")
    shown.wait_for("Enter boots with")
    shown.type(*keys)
    assert arguments(shown.end()) == expected


def test_an_entry_that_does_not_boot_is_explained() -> None:
    shown = Shown(menu_of())
    shown.wait_for("gives up.")
    shown.type(DOWN, ENTER)
    shown.wait_for("the entry 'Windows' boots no Linux kernel")
    shown.type(HOME, ENTER)
    assert arguments(shown.end()) == "first"


def test_the_default_boots_when_the_time_is_over() -> None:
    shown = Shown(menu_of("1"))
    shown.wait_for("The entry marked * boots in 1 s.")
    started = time.monotonic()
    assert arguments(shown.end()) == "inner"
    assert time.monotonic() - started < 5


def test_a_key_stops_the_countdown() -> None:
    shown = Shown(menu_of("1"))
    shown.wait_for("boots in 1 s.")
    shown.type(b"x")
    time.sleep(1.5)
    assert shown.outcome is None
    shown.type(HOME, ENTER)
    assert arguments(shown.end()) == "first"


def test_no_time_is_no_menu() -> None:
    shown = Shown(menu_of("0"))
    assert arguments(shown.end()) == "inner"


def test_nobody_looks_any_more() -> None:
    shown = Shown(menu_of())
    shown.wait_for("gives up.")
    shown.ours.close()
    assert arguments(shown.end()) == "inner"


def test_a_small_terminal_shows_a_part() -> None:
    entries = "".join(
        f"menuentry entry-{number} {{ linux /k {number}; }}\n" for number in range(50)
    )
    here = volume({})
    menu = script_menu(entries, FileRef(here, "/grub.cfg"), volumes(here))
    shown = Shown(menu, columns=30, rows=10)
    shown.wait_for("entry-3")
    assert "entry-4" not in shown.seen
    shown.type(*[DOWN] * 49)
    shown.wait_for("entry-49")
    assert max(map(len, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.seen).split("\r\n"))) < 60
    shown.type(ENTER)
    assert arguments(shown.end()) == "49"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


def test_keys_that_come_in_pieces(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    keyboard = Keyboard(reader)
    os.write(writer, b"\x1b[")
    threading.Timer(0.01, os.write, (writer, b"Ax")).start()
    assert keyboard.read(5) is Key.UP
    assert keyboard.read(5) == "x"
    assert keyboard.read(0) is None
    os.close(writer)
    with pytest.raises(EOFError):
        keyboard.read(None)


@given(st.binary(max_size=40).filter(lambda data: not data.endswith(b"\x1b")))
def test_any_bytes_are_keys(data: bytes) -> None:
    reader, writer = os.pipe()
    try:
        keyboard = Keyboard(reader)
        os.write(writer, data)
        os.close(writer)
        read = 0
        with pytest.raises(EOFError):
            while True:
                keyboard.read(None)
                read += 1
                assert read <= len(data) + 1
    finally:
        os.close(reader)
