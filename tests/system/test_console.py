"""The console of a Debian guest: complete, shared, and a shell that answers."""

from __future__ import annotations

import os
import signal
import time

import pytest

from .host import Host, read_until
from .terminal import Terminal

pytestmark = pytest.mark.guest

FIRST_LINE = "Linux version"


def test_the_guests_shell_answers(debian: Terminal) -> None:
    assert debian.run("uname -s; echo $((6 * 7))") == "Linux\n42\n"


def test_a_late_client_sees_everything_from_the_first_byte(host: Host, debian: Terminal) -> None:
    said = debian.run("echo said before the client came")
    with host.terminal("console", "debian") as late:
        seen = late.wait_for(said.strip().encode()).decode()
        assert late.leave() == 0
    assert FIRST_LINE in seen.splitlines()[0]
    assert seen.index(FIRST_LINE) < seen.index("Run /init") < seen.index("user space is up")


def test_several_clients_see_and_type_at_once(host: Host, debian: Terminal) -> None:
    with host.terminal("console", "debian") as other:
        other.wait_for(b"# ")
        other.run("echo by the other client")
        debian.wait_for(b"\nby the other client")
        debian.run("echo by the first client")
        other.wait_for(b"\nby the first client")
        assert other.leave() == 0


def test_a_console_without_a_terminal_only_shows(host: Host, debian: Terminal) -> None:
    said = debian.run("echo for the one who looks on")
    with host.running_xl("console", "debian") as console:
        read_until(console, said.strip().encode())
        console.send_signal(signal.SIGINT)
        assert console.wait(10) == 128 + signal.SIGINT


def test_the_terminal_is_raw_meanwhile_and_as_before_afterwards(
    host: Host, debian: Terminal
) -> None:
    with host.terminal("console", "debian") as terminal:
        before = terminal.initial_attributes
        terminal.wait_for(b"# ")
        assert terminal.attributes() != before
        # A Ctrl-C is the guest's: it ends the command there, not the console here.
        terminal.type(b"(echo sleep' starts'; sleep 1000)\n")
        terminal.wait_for(b"sleep starts")
        terminal.type(b"\x03")
        assert terminal.run("echo still here") == "still here\n"
        os.kill(terminal.process.pid, signal.SIGWINCH)
        assert terminal.run("echo resized") == "resized\n"
        assert terminal.leave() == 0
        assert terminal.attributes() == before


def test_what_the_guest_prints_reaches_a_terminal_unchanged(host: Host, debian: Terminal) -> None:
    """A program that moves the cursor down by a bare newline must not find it in column 0."""
    with host.terminal("console", "debian") as terminal:
        terminal.wait_for(b"# ")
        terminal.type(rb"stty -opost; printf 'one\ntwo\r\nend%s' ing; stty opost" + b"\n")
        assert b"one\ntwo\r\nending" in terminal.wait_for(b"ending")
        terminal.leave()


def test_much_typing_arrives_complete(debian: Terminal) -> None:
    lines = "".join(f"{number:061d}\n" for number in range(200))
    # The shell's line editor reads ahead: type for cat only once it is there to read.
    debian.type(b"echo cat' reads'; cat > /tmp/typed\n")
    debian.wait_for(b"cat reads")
    for start in range(0, len(lines), 62):
        debian.type(lines[start : start + 62].encode())
        debian.wait_for(lines[start : start + 61].encode())
    debian.type(b"\x04")
    assert debian.run("wc -c < /tmp/typed; tail -n 1 /tmp/typed") == f"{len(lines)}\n{lines[-62:]}"


def test_a_flood_of_output_arrives_complete(host: Host, debian: Terminal) -> None:
    debian.run("seq 1 20000; echo the flood is over", timeout=120)
    with host.terminal("console", "debian") as late:
        seen = late.wait_for(b"\nthe flood is over").decode()
        late.leave()
    numbers = seen[seen.index("\n1\r") :].split()
    assert [text for text in numbers if text.isdigit()][:20000] == list(map(str, range(1, 20001)))


def test_a_console_to_a_domain_that_is_gone_ends(host: Host) -> None:
    host.xl("create", "-p", host.config("brief"))
    with host.running_xl("console", "brief") as console:
        time.sleep(0.3)
        host.xl("destroy", "brief")
        assert console.wait(10) == 0
    refused = host.try_xl("console", "brief")
    assert refused.returncode == 1
    assert "brief" in refused.stderr
