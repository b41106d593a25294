"""`xl create`: what it asks of the daemon, and what is left behind when it is interrupted."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from scripted_daemon import RefusalError, ScriptedDaemon, domain

from xenolith.cli import signals
from xenolith.cli.xl import main
from xenolith.toolstack.config.load import answer
from xenolith.toolstack.config_source import ConfigSource
from xenolith.toolstack.records import DomainInfo

UUID = "12345678-abcd-ef01-2345-6789abcdef01"


class Host:
    """A daemon that remembers which domains were created and destroyed."""

    def __init__(self) -> None:
        self.domains: dict[int, DomainInfo] = {}
        self.daemon = ScriptedDaemon(
            {
                "load_config": lambda **source: answer(ConfigSource(**source)),
                "create": self.create,
                "destroy": self.destroy,
                "list": lambda: list(self.domains.values()),
                "unpause": lambda domid: None,
                "console": self.console,
                "wait": self.wait,
            }
        )
        self.guest_ends: list[socket.socket] = []
        self.ended = threading.Event()

    def create(self, config: dict[str, Any], paused: bool) -> dict[str, int]:
        domid = len(self.domains) + 1
        self.domains[domid] = domain(domid, config["name"], uuid=config["uuid"], paused=paused)
        return {"domid": domid}

    def destroy(self, domid: int) -> None:
        del self.domains[domid]
        self.ended.set()

    def console(self, domid: int) -> socket.socket:
        ours, guest = socket.socketpair()
        self.guest_ends.append(guest)
        guest.sendall(b"booted\n")
        guest.close()
        return ours

    def wait(self, domid: int) -> tuple[int, int | None, int | None, bool]:
        assert self.ended.wait(20)
        return (domid, None, None, False)

    def methods(self) -> list[str]:
        return [method for method, _ in self.daemon.called("load_config")]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("XENOLITH_RUN_DIR", str(tmp_path / "run"))
    host = Host()
    yield host
    host.ended.set()
    host.daemon.close()


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "linux").touch()
    file = tmp_path / "deb.cfg"
    file.write_text(f"name='deb'\ntype='pvh'\nkernel='linux'\nuuid='{UUID}'\nmemory=64\nvcpus=2\n")
    return str(file)


class Interrupter:
    """Sends signals to the main thread and sees to it that they are noticed.

    A signal that arrives just before a system call begins is noticed only after it, so one that
    makes no impression is sent again.
    """

    def __init__(self) -> None:
        self._noticed = threading.Condition()
        self._count = 0

    def notice(self) -> None:
        with self._noticed:
            self._count += 1
            self._noticed.notify_all()

    def send(self, signum: int = signal.SIGINT) -> None:
        with self._noticed:
            before = self._count
        for _ in range(20):
            os.kill(os.getpid(), signum)
            with self._noticed:
                if self._noticed.wait_for(lambda: self._count > before, 1):
                    return
        raise AssertionError("nobody noticed the signal")


@pytest.fixture
def interrupter(monkeypatch: pytest.MonkeyPatch) -> Interrupter:
    interrupter = Interrupter()
    hold, leave = signals.Held.hold, signals.leave

    def noticed_hold(held: signals.Held, signum: int, frame: FrameType | None) -> None:
        interrupter.notice()
        hold(held, signum, frame)

    def noticed_leave(signum: int, frame: FrameType | None) -> None:
        interrupter.notice()
        leave(signum, frame)

    monkeypatch.setattr(signals.Held, "hold", noticed_hold)
    monkeypatch.setattr(signals, "leave", noticed_leave)
    return interrupter


def test_it_hands_over_the_configuration(
    host: Host, config: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["create", config, 'name="other"', "memory=128"]) == 0
    ((method, params),) = host.daemon.called("load_config")
    assert method == "create"
    assert params["paused"] is False
    sent = params["config"]
    assert (sent["name"], sent["type"], sent["uuid"]) == ("other", "pvh", UUID)
    assert (sent["memory"], sent["maxmem"], sent["vcpus"]) == (128, 128, 2)
    assert sent["kernel"] == str(tmp_path / "linux")
    assert capfd.readouterr() == ("", f"Parsing config from {config}\n")


@pytest.mark.parametrize("options", [["-f"], ["-q", "-f"], ["-eq", "--defconfig"]])
def test_the_file_may_be_an_option(host: Host, config: str, options: list[str]) -> None:
    assert main(["create", "memory=96", *options, config]) == 0
    assert host.daemon.calls[1][1]["config"]["memory"] == 96


def test_paused(host: Host, config: str) -> None:
    assert main(["create", "-pq", config]) == 0
    assert host.daemon.calls[1][1]["paused"] is True
    assert host.methods() == ["create"]


def test_the_console_is_attached_before_the_guest_runs(
    host: Host, config: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["create", "-cq", config]) == 0
    assert host.methods() == ["create", "console", "unpause"]
    assert host.daemon.calls[1][1]["paused"] is True
    assert capfd.readouterr().out == "booted\n"


def test_the_console_of_a_domain_left_paused(host: Host, config: str) -> None:
    assert main(["create", "-cpq", config]) == 0
    assert host.methods() == ["create", "console"]


def test_a_console_that_cannot_be_had_leaves_no_domain(
    host: Host, config: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(domid: int) -> None:
        raise RefusalError("The console is in use")

    host.daemon.answers["console"] = refuse
    assert main(["create", "-cq", config]) == 1
    assert capfd.readouterr().err == "Error: The console is in use\n"
    assert host.domains == {}


def test_refusals_are_passed_on(host: Host, config: str, capfd: pytest.CaptureFixture[str]) -> None:
    def refuse(config: dict[str, Any], paused: bool) -> None:
        raise RefusalError("A domain named 'deb' exists already")

    host.daemon.answers["create"] = refuse
    assert main(["create", "-q", config]) == 1
    assert capfd.readouterr().err == "Error: A domain named 'deb' exists already\n"


@pytest.mark.parametrize("arguments", [["create", "-n"], ["-N", "create"]])
def test_a_dry_run_prints_json(
    host: Host, config: str, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main([*arguments, config, "vcpus=3"]) == 0
    layout = json.loads(capfd.readouterr().out)
    assert layout["c_info"]["uuid"] == UUID
    assert layout["b_info"]["avail_vcpus"] == [0, 1, 2]
    assert host.daemon.called("load_config") == []


def test_mistakes_are_listed_and_nothing_is_created(
    host: Host, config: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for verb in (["create", "-q"], ["check-config"]):
        assert main([*verb, config, "memory=1", "memroy=1", "vnc=1"]) == 1
        assert capfd.readouterr() == (
            "",
            "command line: key 'memroy': unknown key (did you mean 'memory'?)\n"
            "command line: key 'memory': 1 is out of range (32 to 16777216)\n",
        )
    assert host.daemon.called("load_config") == []


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ('type="hvm"', 'type="hvm" is not supported yet'),
        ('bootloader="pygrub"', "bootloader=pygrub needs a disk to look into"),
        ('disk=["/a,raw,xvda,w,script=block"]', "xvda: scripts are not run"),
        ('disk=["/a,raw,xvda,w,backend=other"]', "xvda: disks are served by domain 0 only"),
        ('vif=["backend=other"]', "network interfaces are served by domain 0 only"),
        ('vif=["devid=1","","devid=1"]', "two network interfaces have the number 1"),
    ],
)
def test_check_config_knows_what_no_domain_can_be_created_from(
    config: str, setting: str, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-config", config, setting]) == 1
    assert capfd.readouterr().err.startswith(f"Error: Domain deb cannot be created: {why}")


def test_check_config_warns(config: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", config, "vnc=1"]) == 0
    assert capfd.readouterr() == (
        "",
        "command line: warning: key 'vnc' is accepted but has no effect yet\n",
    )


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["create"], "a configuration file is needed"),
        (["create", "memory=1"], "a configuration file is needed"),
        (["create", "a", "b"], "unexpected argument 'b'"),
        (["check-config", "a", "b"], "one configuration file is needed"),
    ],
)
def test_usage(arguments: list[str], why: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert f": {why} (usage: xl " in capfd.readouterr().err


def test_an_interrupt_while_it_is_created_leaves_no_domain(
    host: Host, config: str, interrupter: Interrupter
) -> None:
    def create(config: dict[str, Any], paused: bool) -> dict[str, int]:
        interrupter.send()
        return host.create(config, paused)

    host.daemon.answers["create"] = create
    assert main(["create", "-q", config]) == 130
    assert host.domains == {}


@pytest.mark.parametrize("moment", ["console", "unpause"])
def test_an_interrupt_before_the_guest_runs_leaves_no_domain(
    host: Host, config: str, interrupter: Interrupter, moment: str
) -> None:
    answer = host.daemon.answers[moment]

    def interrupted(domid: int) -> Any:
        interrupter.send()
        return answer(domid=domid)

    host.daemon.answers[moment] = interrupted
    assert main(["create", "-cq", config]) == 130
    assert host.domains == {}


def test_a_second_interrupt_does_not_wait_for_the_daemon(
    host: Host, config: str, interrupter: Interrupter
) -> None:
    finished = threading.Event()

    def stuck(config: dict[str, Any], paused: bool) -> dict[str, int]:
        created = host.create(config, paused)
        interrupter.send()
        interrupter.send()
        assert finished.wait(20)
        return created

    host.daemon.answers["create"] = stuck
    assert main(["create", "-q", config]) == 130
    assert host.domains == {}
    finished.set()


def test_a_signal_that_comes_too_late_changes_nothing(
    host: Host, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The domain is there, so xl must not end as if it had been stopped before."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, signal\natexit.register(os.kill, os.getpid(), signal.SIGTERM)\n"
    )
    search = os.pathsep.join([str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", search)
    command = [sys.executable, "-m", "xenolith.cli.xl", "create", "-q", config]
    assert subprocess.run(command, check=False, timeout=20).returncode == 0
    assert list(host.domains) == [1]


def test_the_foreground_ends_with_the_domain(
    host: Host, config: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ends = {1: (1, 1, 7, False), 7: (7, 0, None, False)}
    host.daemon.answers["wait"] = lambda domid: ends[domid]
    assert main(["create", "-F", config]) == 0
    assert capfd.readouterr().err.splitlines() == [
        f"Parsing config from {config}",
        f"Waiting for domain deb (domid 1) to die [pid {os.getpid()}]",
        "Domain 1 has restarted as domain 7",
        "Domain 7 has been shut down, reason code 0",
    ]
    host.domains.clear()
    host.daemon.answers["wait"] = lambda domid: (domid, 3, None, False)
    assert main(["create", "-Fq", config]) == 0
    assert re.fullmatch(r"Domain \d+ has been shut down, reason code 3\n", capfd.readouterr().err)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_in_the_foreground_destroys_the_domain(
    host: Host, config: str, interrupter: Interrupter, signum: int
) -> None:
    def wait(domid: int) -> tuple[int, int | None, int | None, bool]:
        interrupter.send(signum)
        return host.wait(domid)

    host.daemon.answers["wait"] = wait
    assert main(["create", "-Fq", config]) == 128 + signum
    assert host.domains == {}


def test_leaving_the_console_leaves_the_domain(host: Host, config: str) -> None:
    """In a process of its own, because the terminal must be standard input and output."""

    def talkative(domid: int) -> socket.socket:
        ours, guest = socket.socketpair()
        host.guest_ends.append(guest)
        guest.sendall(b"login: ")
        return ours

    host.daemon.answers["console"] = talkative
    keyboard, terminal = pty.openpty()
    command = [sys.executable, "-m", "xenolith.cli.xl", "create", "-cq", config]
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    while b"login: " not in shown:
        shown += os.read(keyboard, 1024)
    os.write(keyboard, b"\x1d")
    assert process.wait(20) == 0
    assert list(host.domains) == [1]
    os.close(keyboard)
    for guest in host.guest_ends:
        guest.close()
