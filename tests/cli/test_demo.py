"""`make run` and `make debian` without a terminal: shown until the guest is up, then shut down."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_daemon import ScriptedDaemon, domain

from xenolith.cli.demo import main
from xenolith.toolstack.config.load import answer
from xenolith.toolstack.config_source import ConfigSource


class Guest:
    """A daemon with one domain, which prints what it boots with and, when it is shut down, goodbye."""

    def __init__(self) -> None:
        self.boot = b""
        self.ends_itself = False
        self.daemon = ScriptedDaemon(
            {
                "load_config": lambda **source: answer(ConfigSource(**source)),
                "create": lambda config, paused: {"domid": 1},
                "list": lambda: [domain(1, "demo")],
                "resolve": lambda domain: 1,
                "console": self.console,
                "unpause": lambda domid: None,
                "shutdown": self.shutdown,
                "destroy": lambda domid: None,
            }
        )

    def console(self, domid: int) -> socket.socket:
        ours, self._end = socket.socketpair()
        self._end.sendall(self.boot)
        if self.ends_itself:
            self._end.close()
        return ours

    def shutdown(self, domid: int) -> None:
        self._end.sendall(b"reboot: System halted\n")
        self._end.close()

    def methods(self) -> list[str]:
        return [method for method, _ in self.daemon.called("load_config")]


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guest]:
    monkeypatch.setenv("XENOLITH_RUN_DIR", str(tmp_path / "run"))
    guest = Guest()
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        yield guest
    guest.daemon.close()


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "linux").touch()
    file = tmp_path / "demo.cfg"
    file.write_text("name='demo'\ntype='pvh'\nkernel='linux'\nmemory=64\n")
    return str(file)


@pytest.mark.parametrize(
    ("options", "boot"),
    [
        ([], b"Run /init\nXENOLITH: user space is up: Linux 6.1\n"),
        (["--until", " login: "], b"Debian GNU/Linux 12 debian hvc0\n\ndebian login: "),
        (["--until", r"(?m)^\w+ login: "], b"\ndebian login: "),
    ],
)
def test_the_console_is_shown_until_the_guest_is_up(
    guest: Guest,
    config: str,
    options: list[str],
    boot: bytes,
    capfd: pytest.CaptureFixture[str],
) -> None:
    guest.boot = boot
    assert main([*options, config]) == 0
    shown = capfd.readouterr().out
    assert boot.decode() in shown
    assert "\ndemo was up " in shown
    assert shown.endswith("reboot: System halted\n")
    assert guest.methods()[-1] == "shutdown"


def test_a_guest_that_ends_too_soon_is_a_failure(
    guest: Guest, config: str, capfd: pytest.CaptureFixture[str]
) -> None:
    guest.boot, guest.ends_itself = b"XENOLITH: user space is up: Linux 6.1\n", True
    assert main(["--until", " login: ", config]) == 1
    assert "demo ended before it was up" in capfd.readouterr().err
    assert "shutdown" not in guest.methods()


def test_what_is_no_regular_expression_is_refused(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--until", "login(", str(tmp_path / "demo.cfg")])
    assert refused.value.code == 2
    assert "'login(' is no regular expression" in capfd.readouterr().err


def test_mistakes_of_the_configuration_are_told_with_their_places(
    guest: Guest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "demo.cfg"
    config.write_text("name = 'demo'\nmemroy = 5\nkernel = '/dev/null'\n")
    assert main([str(config)]) == 1
    assert capsys.readouterr().err.startswith(f"{config}:2: key 'memroy': unknown key")
    assert main([str(tmp_path / "absent.cfg")]) == 1
    assert capsys.readouterr().err.endswith("cannot be read: No such file or directory\n")
    assert guest.methods() == []
