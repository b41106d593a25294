"""xenstore-utils: Debian's against our server, and ours against Debian's, to the character."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xenstore_harness import ServerProcess

from xenolith.cli import xenstore
from xenolith.xenstore.tools.client import Client
from xenolith.xenstore.tools.escape import escape, unescape

DEBIAN = shutil.which("xenstore-ls")

debian = pytest.mark.skipif(DEBIAN is None, reason="Debian's xenstore-utils are not installed")
both = pytest.mark.parametrize(
    "whose", [pytest.param("debian", marks=debian), pytest.param("ours")]
)


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("xenstore"))
    yield server
    server.kill()


@pytest.fixture
def server(module_server: ServerProcess) -> Iterator[ServerProcess]:
    client = module_server.connect()
    client.write("/test", b"")
    yield module_server
    client.rm("/test")
    client.close()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    client = server.connect()
    yield client
    client.close()


class Result(tuple[int, bytes, bytes]):
    """Status, output and errors of a program."""

    def output(self) -> bytes:
        """What it printed; it must have succeeded without complaint."""
        assert (self[0], self[2]) == (0, b""), self
        return self[1]


def command_line(whose: str, verb: str, *arguments: str | bytes) -> list[str | bytes]:
    if whose == "debian":
        return [f"xenstore-{verb}", *arguments]
    program = f"import sys; from xenolith.cli.xenstore import main; sys.argv[0] = 'xenstore-{verb}'"
    return [sys.executable, "-c", f"{program}; sys.exit(main())", *arguments]


def run(whose: str, server: ServerProcess, verb: str, *arguments: str | bytes) -> Result:
    environment = {**os.environ, "XENSTORED_PATH": server.socket}
    done = subprocess.run(
        command_line(whose, verb, *arguments),
        env=environment,
        capture_output=True,
        timeout=20,
        check=False,
    )
    return Result((done.returncode, done.stdout, done.stderr))


@both
def test_write_and_read(whose: str, server: ServerProcess, client: Client) -> None:
    run(whose, server, "write", "/test/a", "x", "/test/b", r"tab\t\x00\001\\end").output()
    assert client.read("/test/b") == b"tab\t\0\1\\end"
    assert run(whose, server, "read", "/test/a").output() == b"x\n"
    assert run(whose, server, "read", "-p", "/test/a", "/test/b").output() == (
        b"/test/a: x\n/test/b: tab\\t\\000\\001\\\\end\n"
    )
    assert run(whose, server, "read", "-R", "/test/b").output() == b"tab\t\0\1\\end"
    run(whose, server, "write", "-R", "/test/b", r"raw\t").output()
    assert client.read("/test/b") == rb"raw\t"


@both
def test_failures_are_told_by_status_and_message(whose: str, server: ServerProcess) -> None:
    assert run(whose, server, "read", "/test/none") == (
        1,
        b"",
        b"xenstore-read: couldn't read path /test/none\n",
    )
    assert run(whose, server, "exists", "/test/none") == (1, b"", b"")
    assert run(whose, server, "exists", "/test").output() == b""
    assert run(whose, server, "list", "/test/none") == (
        1,
        b"",
        b"xenstore-list: could not list path /test/none\n",
    )
    assert run(whose, server, "rm", "/test/none/none") == (
        1,
        b"",
        b"xenstore-rm: could not remove path /test/none/none\n",
    )
    assert run(whose, server, "write", "/bad path", "x") == (
        1,
        b"",
        b"xenstore-write: could not write path /bad path\n",
    )
    assert run(whose, server, "ls", "/test/none") == (
        1,
        b"",
        b"xenstore-ls: xs_directory (/test/none): No such file or directory\n",
    )
    assert run(whose, server, "chmod", "/test", "x5") == (
        1,
        b"",
        b"xenstore-chmod: Invalid permission specification: 'x'\n",
    )
    assert run(whose, server, "chmod", "/test/none", "n5") == (
        1,
        b"",
        b"xenstore-chmod: Error occurred setting permissions on '/test/none': "
        b"No such file or directory\n",
    )
    status, _, complaint = run(whose, server, "write", "/test/odd")
    assert status == 1
    assert complaint.startswith(b"xenstore-write: Usage: xenstore-write [-h]")


@both
def test_list_and_exists(whose: str, server: ServerProcess, client: Client) -> None:
    for name in "abc":
        client.write(f"/test/{name}", b"")
    assert run(whose, server, "list", "/test").output() == b"a\nb\nc\n"
    assert run(whose, server, "list", "-p", "/test").output() == b"/test/a\n/test/b\n/test/c\n"


@both
def test_a_long_list_comes_whole(whose: str, server: ServerProcess, client: Client) -> None:
    names = [f"a-name-of-some-length-{number}" for number in range(700)]
    for name in names:
        client.write(f"/test/{name}", b"")
    assert run(whose, server, "list", "/test").output().decode().split() == names


@both
def test_rm_and_its_tidiness(whose: str, server: ServerProcess, client: Client) -> None:
    client.write("/test/a/b/c", b"")
    client.write("/test/keep/b/c", b"")
    client.write("/test/keep", b"value")
    run(whose, server, "rm", "/test/a/b/c").output()
    assert client.directory("/test/a") == ["b"]
    run(whose, server, "rm", "-t", "/test/a/b").output()
    run(whose, server, "rm", "--tidy", "/test/keep/b/c").output()
    assert client.directory("/test") == ["keep"]
    assert client.directory("/test/keep") == []


@both
def test_chmod(whose: str, server: ServerProcess, client: Client) -> None:
    client.write("/test/a/b/c", b"")
    run(whose, server, "chmod", "/test/a/b", "n5", "r6").output()
    assert client.get_permissions("/test/a/b") == ["n5", "r6"]
    assert client.get_permissions("/test/a") == ["n0"]
    run(whose, server, "chmod", "-r", "/test/a", "b7").output()
    assert client.get_permissions("/test/a/b/c") == ["b7"]
    assert client.get_permissions("/test") == ["n0"]
    run(whose, server, "chmod", "-u", "/test/a/b", "w8").output()
    assert client.get_permissions("/test") == ["w8"]
    assert client.get_permissions("/test/a/b/c") == ["b7"]


@both
def test_watch(whose: str, server: ServerProcess, client: Client) -> None:
    environment = {**os.environ, "XENSTORED_PATH": server.socket}
    with subprocess.Popen(
        command_line(whose, "watch", "-n", "4", "/test/a", "/test/b"),
        env=environment,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"/test/a\n"
        assert process.stdout.readline() == b"/test/b\n"
        client.write("/test/b/c", b"x")
        assert process.stdout.readline() == b"/test/b/c\n"
        client.write("/test/c", b"x")
        client.rm("/test/a")
        client.write("/test/a", b"x")
        assert process.stdout.readline() == b"/test/a\n"
        assert process.wait(20) == 0


def populate(client: Client) -> None:
    """Nodes that bring out every way in which ls shortens, escapes and aligns."""
    for length in (0, 1, 20, 52, 53, 54, 66, 67, 68, 69, 70, 71, 72, 73, 80, 300):
        client.write(f"/test/length-{length}", b"v" * length)
    client.write("/test/" + "n" * 75, b"short")
    client.write("/test/" + "m" * 68, b"")
    client.write("/test/escapes", bytes(range(40)))
    client.write("/test/more-escapes", bytes(range(90, 130)) + bytes(range(250, 256)))
    client.write("/test" + "/deep" * 30, b"value")
    client.set_permissions("/test/escapes", ["n0", "r1", "w2", "b3"])


@debian
@pytest.mark.parametrize(
    "arguments",
    [(), ("-p",), ("-f",), ("-f", "-p"), ("/test", "-p"), ("/test", "/tool"), ("-s",), ("--flat",)],
)
def test_ls_prints_what_debians_prints(
    arguments: tuple[str, ...], server: ServerProcess, client: Client
) -> None:
    populate(client)
    expected = run("debian", server, "ls", *arguments).output()
    assert len(expected) > 100
    assert run("ours", server, "ls", *arguments).output() == expected


def on_a_terminal(whose: str, server: ServerProcess, columns: int) -> bytes:
    """What ls prints on a terminal of some width."""
    master, slave = pty.openpty()
    subprocess.run(["stty", "cols", str(columns)], stdin=slave, check=True)
    printed = bytearray()

    def read() -> None:
        try:
            while data := os.read(master, 65536):
                printed.extend(data)
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    environment = {**os.environ, "XENSTORED_PATH": server.socket}
    subprocess.run(
        command_line(whose, "ls", "-p"), env=environment, stdout=slave, timeout=20, check=True
    )
    os.close(slave)
    reader.join()
    os.close(master)
    return bytes(printed)


@debian
@pytest.mark.parametrize("columns", [20, 50, 60, 100, 200])
def test_ls_fits_the_terminal_as_debians_does(
    columns: int, server: ServerProcess, client: Client
) -> None:
    populate(client)
    expected = on_a_terminal("debian", server, columns)
    assert on_a_terminal("ours", server, columns) == expected


@debian
@given(st.binary(max_size=30))
def test_escapes_are_debians(module_server: ServerProcess, value: bytes) -> None:
    client = module_server.connect()
    client.write("/escapes", value)
    client.close()
    printed = run("debian", module_server, "read", "/escapes").output()
    assert printed == escape(value) + b"\n"


@given(st.binary())
def test_unescape_undoes_escape(value: bytes) -> None:
    assert unescape(escape(value)) == value


@debian
@pytest.mark.parametrize(
    "text",
    [r"\x4", r"\x41b", r"\xzz", r"\1", r"\12", r"\1234", r"\777", r"\q\\q", "a\\", r"\8", ""],
)
def test_unescape_is_debians(text: str, server: ServerProcess, client: Client) -> None:
    run("debian", server, "write", "/test/a", text).output()
    assert client.read("/test/a") == unescape(text.encode())


def main(server: ServerProcess, *argv: str) -> int:
    return xenstore.main(argv, socket_path=server.socket)


def test_the_verb_may_be_an_argument(
    server: ServerProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(server, "xenstore", "list", "/") == 0
    assert "test\n" in capfd.readouterr().out
    assert main(server, "xenstore", "read") == 1
    assert capfd.readouterr().err.startswith("xenstore: Usage: xenstore read [-h]")
    assert main(server, "xenstore", "dance") == 1
    assert capfd.readouterr().err == "xenstore: unknown mode dance\n"
    assert main(server, "xenstore") == 1
    assert capfd.readouterr().err == "xenstore: Usage: xenstore <mode> [-h] [...]\n"


def test_help_and_wrong_options(server: ServerProcess, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(server, "/usr/bin/xenstore-ls", "--help") == 0
    assert capfd.readouterr().out == "Usage: xenstore-ls [-h] [-f] [-p] [path]\n"
    assert main(server, "xenstore-ls", "-t") == 1
    assert "option -t not recognized" in capfd.readouterr().err
    assert main(server, "xenstore-watch", "-n", "many", "/") == 1
    assert capfd.readouterr().err == "xenstore-watch: not a number: many\n"


def test_watch_with_a_depth(server: ServerProcess, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(server, "xenstore-watch", "-n", "1", "-d", "1", "/test") == 0
    assert capfd.readouterr().out == "/test\n"


def test_no_server(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nowhere = str(tmp_path / "nowhere")
    assert xenstore.main(["xenstore-ls"], socket_path=nowhere) == 1
    assert capfd.readouterr().err == "xenstore-ls: xs_open: No such file or directory\n"


def test_the_environment_names_the_socket(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XENOLITH_RUN_DIR", str(tmp_path))
    monkeypatch.setenv("XENSTORED_PATH", server.socket)
    assert xenstore.main(["xenstore-exists", "/test"]) == 0
    monkeypatch.delenv("XENSTORED_PATH")
    assert xenstore.main(["xenstore-exists", "/test"]) == 1
    os.symlink(server.socket, tmp_path / "xenstored.socket")
    assert xenstore.main(["xenstore-exists", "/test"]) == 0


def test_a_closed_pipe_ends_ls_quietly(server: ServerProcess, client: Client) -> None:
    for number in range(3000):
        client.write(f"/test/{number}", b"value" * 10)
    environment = {**os.environ, "XENSTORED_PATH": server.socket}
    with subprocess.Popen(
        command_line("ours", "ls"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
