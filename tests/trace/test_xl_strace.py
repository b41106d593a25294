"""The command: options, where the lines go, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xenolith.cli.xl import main
from xenolith.toolstack.client import Toolstack
from xenolith.toolstack.rpc import Connection

from .test_lines import TRACE

ATTACHED = "    0.050000 -   attached to domain 1; system time 0 is 1767225600.000000\n"


class OneDomain(Toolstack):
    """A daemon with one domain, whose trace the test writes."""

    def __init__(self, stream: socket.socket) -> None:
        ours, theirs = socket.socketpair()
        theirs.close()
        super().__init__(Connection(ours))
        self.stream = stream

    def resolve(self, name_or_id: str) -> int:
        return 1

    def strace(self, domid: int) -> socket.socket:
        assert domid == 1
        return self.stream


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    stream, domain = socket.socketpair()
    monkeypatch.setattr(Toolstack, "connect", lambda: OneDomain(stream))
    with stream, domain:
        yield domain


def write(domain: socket.socket, text: str = ATTACHED + TRACE) -> None:
    """Everything that the domain has to say, in pieces that are not lines."""
    data = text.encode()
    for start in range(0, len(data), 100):
        domain.sendall(data[start : start + 100])
    domain.shutdown(socket.SHUT_WR)


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def strace(domain: socket.socket, capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*options: str, text: str = ATTACHED + TRACE) -> tuple[int, str]:
        write(domain, text)
        status = main(["strace", *options, "deb"])
        out, err = capfd.readouterr()
        assert err in ("", "xl strace: attached to domain 1; system time 0 is 1767225600.000000\n")
        return status, out

    return run


def test_lines_are_shown_as_they_come(strace: Run) -> None:
    assert strace() == (0, TRACE)


def test_a_filter_and_a_limit(strace: Run) -> None:
    assert strace("-e", "event", "-n", "1") == (
        0,
        "    0.100015 v0  event: port 9 (ipi) v0 → v1\n",
    )


@pytest.mark.usefixtures("utc")
def test_time_of_day(strace: Run) -> None:
    assert strace("-t", "-n1") == (0, "00:00:00.100000 v0  multicall(2 calls) = 0 <30.0 us>\n")


def test_time_since_the_line_before(strace: Run) -> None:
    _, out = strace("-r", "-e", "!event_channel_op")
    assert [text.split()[0] for text in out.splitlines()] == [
        "0.000000",
        "0.000015",
        "0.099985",
        "0.800000",
        "1.500000",
    ]


def test_lost_lines_are_told(strace: Run) -> None:
    lost = "[7 lines are missing here]\n"
    assert strace("-e", "ipi", text=ATTACHED + lost + TRACE)[1].startswith(lost)


def test_summary(strace: Run) -> None:
    status, out = strace("-c", "-e", "sched_op,virq")
    assert status == 0
    lines = out.splitlines()
    assert lines[2].split() == ["100.00", "0.000020", "20.0", "1", "sched_op(block)"]
    assert lines[-1].split() == ["1", "port", "3", "(virq", "timer)"]


def test_output_to_a_file(strace: Run, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    assert strace("-o", str(path)) == (0, "")
    assert path.read_text() == TRACE


def test_somebody_else_comes_to_watch(strace: Run) -> None:
    """The domain says once more that it is traced; that is no line of the trace."""
    assert strace(text=ATTACHED + TRACE + ATTACHED) == (0, TRACE)


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (
            ["-e", "sned"],
            1,
            "'sned' is no hypercall, command or kind of event (did you mean 'send'?)",
        ),
        (["-n", "0"], 1, "'0' is no number of lines"),
        (["-n", "many"], 1, "'many' is no number of lines"),
        (["-t", "-r"], 2, "xl strace: -t and -r exclude each other"),
        (
            ["-o", "/nowhere/file"],
            1,
            "'/nowhere/file' cannot be written: No such file or directory",
        ),
    ],
)
def test_mistakes_are_one_sentence(
    domain: socket.socket,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    status: int,
    message: str,
) -> None:
    assert main(["strace", *options, "deb"]) == status
    assert capsys.readouterr().err.startswith(f"Error: {message}")


PROGRAM = """
import socket, sys
from xenolith.cli.xl import main
from xenolith.toolstack.client import Toolstack
class OneDomain:
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def resolve(self, name): return 1
    def strace(self, domid): return socket.socket(fileno=int(sys.argv[1]))
Toolstack.connect = OneDomain
sys.exit(main(["strace", "-c", "deb"]))
"""


def test_ctrl_c_ends_it_and_the_summary_is_shown() -> None:
    lost = "[7 lines are missing here]\n"
    stream, domain = socket.socketpair()
    with stream, domain:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(stream.fileno())],
            pass_fds=[stream.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        domain.sendall((ATTACHED + TRACE + lost).encode())
        assert process.stdout is not None
        assert process.stdout.readline() == lost
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.startswith("xl strace: attached to domain 1")
    assert err.count("\n") == 1
    assert out.endswith("1 port 3 (virq timer)\n")
