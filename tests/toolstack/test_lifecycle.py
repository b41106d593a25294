"""What becomes of domains that shut down: on_poweroff and its kin, with real processes."""

from __future__ import annotations

import os
import signal

import pytest

from xenolith.abi.sched import ShutdownReason
from xenolith.toolstack.client import Toolstack, ToolstackError
from xenolith.toolstack.records import DomainInfo

from .host import Host, eventually, read_to_end, read_until

REASONS = {
    "on_poweroff": ("poweroff", ShutdownReason.poweroff),
    "on_reboot": ("reboot", ShutdownReason.reboot),
    "on_crash": ("crash", ShutdownReason.crash),
    "on_watchdog": ("watchdog", ShutdownReason.watchdog),
}


def type_line(toolstack: Toolstack, domid: int, line: str) -> None:
    with toolstack.console(domid) as console:
        console.sendall(f"{line}\n".encode())
        read_until(console, line.encode())


def only_domain(toolstack: Toolstack) -> DomainInfo:
    (domain,) = toolstack.list()[1:]
    return domain


@pytest.mark.parametrize("key", REASONS)
def test_destroy(host: Host, key: str) -> None:
    word, reason = REASONS[key]
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", **{key: "destroy"}))
        type_line(toolstack, domid, word)
        assert toolstack.wait(domid) == (domid, reason, None, False)
        assert len(toolstack.list()) == 1


@pytest.mark.parametrize("key", REASONS)
def test_restart(host: Host, key: str) -> None:
    word, reason = REASONS[key]
    with host.connect() as toolstack:
        config = host.config("web", "hello", **{key: "restart"})
        domid = toolstack.create(config)
        type_line(toolstack, domid, word)
        assert toolstack.wait(domid) == (domid, reason, domid + 1, False)
        with toolstack.console(domid + 1) as console:
            assert read_until(console, b"hello\n").startswith(b"web booted: hello\n")
        assert toolstack.config(domid + 1) == config


@pytest.mark.parametrize("key", REASONS)
def test_preserve(host: Host, key: str) -> None:
    word, reason = REASONS[key]
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", **{key: "preserve"}))
        type_line(toolstack, domid, word)
        assert toolstack.wait(domid) == (domid, reason, None, True)
        domain = only_domain(toolstack)
        assert (domain.shutdown, domain.shutdown_reason) == (True, reason)
        assert domain.crashed == (key == "on_crash")
        assert not domain.running
        assert not domain.blocked
        toolstack.shutdown(domid)
        assert toolstack.wait(domid) == (domid, reason, None, True)
        with pytest.raises(ToolstackError, match="has shut down"):
            toolstack.reboot(domid)
        toolstack.destroy(domid)
        assert toolstack.wait(domid) == (domid, reason, None, False)


def test_rename_restart(host: Host) -> None:
    with host.connect() as toolstack:
        config = host.config("web", on_crash="rename-restart")
        domid = toolstack.create(config)
        type_line(toolstack, domid, "crash")
        assert toolstack.wait(domid) == (domid, ShutdownReason.crash, domid + 1, True)
        old, new = toolstack.list()[1:]
        assert old.name.startswith("web-2")
        assert old.uuid != config["uuid"]
        assert old.crashed
        assert (new.name, new.uuid) == ("web", config["uuid"])
        with toolstack.console(new.domid) as console:
            read_until(console, b"xenstore: web\n")


@pytest.mark.parametrize(
    ("action", "word"),
    [("coredump-destroy", "crash"), ("coredump-restart", "crash"), ("coredump-destroy", "bug")],
)
def test_coredump(host: Host, action: str, word: str) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", on_crash=action))
        type_line(toolstack, domid, word)
        end = toolstack.wait(domid)
        assert (end.successor is not None) == (action == "coredump-restart")
        (core,) = (host.state_dir / "dump").iterdir()
        assert core.name.startswith(f"web-{domid}-")
        assert b"memory of web" in core.read_bytes()


def test_a_suspended_domain_stays(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        type_line(toolstack, domid, "suspend")
        assert toolstack.wait(domid).preserved
        assert only_domain(toolstack).shutdown_reason == ShutdownReason.suspend


def test_destroying_a_domain_that_waits_for_its_restart_is_final(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", "reboot"))
        eventually(lambda: only_domain(toolstack).shutdown_reason == ShutdownReason.reboot)
        toolstack.destroy(domid)
        assert toolstack.wait(domid).successor is None
        assert len(toolstack.list()) == 1


@pytest.mark.parametrize("word", ["segfault", "bug"])
def test_a_failure_of_the_hypervisor_is_a_crash_with_a_record(host: Host, word: str) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", on_crash="preserve"))
        with toolstack.console(domid) as console:
            console.sendall(f"{word}\n".encode())
            assert toolstack.wait(domid) == (domid, ShutdownReason.crash, None, True)
        # The last that the guest printed is kept, whatever it was that ended it.
        assert word in (host.state_dir / "logs" / "guest-web.log").read_text()
        log = (host.state_dir / "logs" / "xl-web.log").read_text()
        assert {"segfault": "Segmentation fault", "bug": "a bug of the hypervisor"}[word] in log


def test_a_domain_process_that_is_killed_is_a_crashed_domain(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", on_crash="preserve"))
        with toolstack.console(domid) as console:
            host.kill(host.pid_of("xen-web"))
            read_to_end(console)
        eventually(lambda: only_domain(toolstack).crashed)
        with pytest.raises(ToolstackError, match="lost its process"):
            toolstack.pause(domid)
        log = host.state_dir / "logs" / "guest-web.log"
        assert b"web booted" in log.read_bytes()
        toolstack.destroy(domid)
        assert len(toolstack.list()) == 1


def test_a_killed_domain_is_restarted_if_its_configuration_says_so(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", on_crash="coredump-restart"))
        host.kill(host.pid_of("xen-web"))
        assert toolstack.wait(domid) == (domid, ShutdownReason.crash, domid + 1, False)


def test_a_process_that_does_not_stop_is_killed(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        pid = host.pid_of("xen-web")
        os.kill(pid, signal.SIGSTOP)
        toolstack.destroy(domid)
        assert pid not in host.processes()


def test_logs_say_what_happened(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        type_line(toolstack, domid, "poweroff")
        toolstack.wait(domid)
    text = (host.state_dir / "logs" / "xl-web.log").read_text()
    assert f"Domain web runs as domain {domid}\n" in text
    assert f"Domain {domid} has shut down, reason code 0; action is destroy\n" in text


def resident_memory_file_kib(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Pss_Shmem:"))


def test_a_process_that_waits_for_a_reader_holds_no_memory_of_the_guest(host: Host) -> None:
    with host.connect() as toolstack:
        config = host.config("web", memory=64, on_poweroff="preserve")
        domid = toolstack.create(config)
        pid = host.pid_of("xen-web")
        with toolstack.console(domid) as console:
            console.sendall(b"fill\nprint 3000000\npoweroff\n")
            assert toolstack.wait(domid).preserved
            # It may still be dumped.
            assert resident_memory_file_kib(pid) >= 64 << 10
            toolstack.destroy(domid)
            assert host.pid_of("xen-web") == pid
            assert resident_memory_file_kib(pid) < 1 << 10
            assert read_to_end(console).count(b"x") >= 3_000_000
