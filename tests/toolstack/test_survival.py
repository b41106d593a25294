"""Deaths: of the daemon, of the zygote, of domains without a daemon; and births at the same time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from xenolith.abi.sched import ShutdownReason
from xenolith.toolstack.client import Toolstack, ToolstackError
from xenolith.xenstore.tools.client import Client

from .host import Host, eventually, read_to_end, read_until


def kill_daemon(host: Host, number: int = signal.SIGKILL) -> None:
    host.kill(host.daemon_pid(), number)
    eventually(lambda: "xen-zygote" not in host.processes().values(), host.processes)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_domains_outlive_the_daemon_and_the_next_one_finds_them(host: Host, number: int) -> None:
    with host.connect() as toolstack:
        config = host.config("web", "hello", memory=64)
        domid = toolstack.create(config)
        toolstack.create(host.config("mail"), paused=True)
        before = toolstack.list()
        console = toolstack.console(domid)
        read_until(console, b"xenstore: web\n")
    kill_daemon(host, number)
    # The console's socket leads to the domain itself.
    console.sendall(b"print 4\n")
    assert read_until(console, b"xxxx\n")
    with host.connect() as toolstack:
        after = toolstack.list()
        assert [domain._replace(cpu_time_ns=0) for domain in after[1:]] == [
            domain._replace(cpu_time_ns=0) for domain in before[1:]
        ]
        assert toolstack.config(domid) == config
        toolstack.unpause(domid + 1)
        with toolstack.console(domid + 1) as other:
            read_until(other, b"xenstore: mail\n")
        toolstack.shutdown(domid)
        assert toolstack.wait(domid).reason == ShutdownReason.poweroff
        assert b"shutting down" in read_to_end(console)
        console.close()
        assert toolstack.create(host.config("new")) == domid + 2


def test_the_guests_xenstore_requests_are_answered_by_the_next_daemon(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        console = toolstack.console(domid)
        read_until(console, b"xenstore: web\n")
    kill_daemon(host)
    with console:
        console.sendall(b"write data/kept value\nread data/kept\n")
        time.sleep(0.1)
        with host.connect() as toolstack:
            read_until(console, b"xenstore: value\n")
            store = Client.connect(toolstack.info()["xenstored_socket"])
            with contextlib.closing(store):
                assert store.read(f"/local/domain/{domid}/data/kept") == b"value"


def test_xenstore_keeps_its_contents(host: Host) -> None:
    with host.connect() as toolstack:
        path = toolstack.info()["xenstored_socket"]
        with contextlib.closing(Client.connect(path)) as store:
            store.write("/tool/mine", b"kept")
    kill_daemon(host)
    with host.connect(), contextlib.closing(Client.connect(path)) as store:
        assert store.read("/tool/mine") == b"kept"


def test_domains_outlive_the_loss_of_xenstores_journal(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        kept = toolstack.create(host.config("kept", on_crash="preserve"))
        gone = toolstack.create(host.config("gone"))
        console = toolstack.console(domid)
        read_until(console, b"xenstore: web\n")
    kill_daemon(host)
    for name in ("kept", "gone"):
        host.kill(host.pid_of(f"xen-{name}"))
    (host.run_dir / "xenstored.journal").unlink()
    with console, host.connect() as toolstack:
        assert toolstack.wait(kept).preserved
        assert toolstack.wait(gone).reason == ShutdownReason.crash
        console.sendall(b"read name\n")
        read_until(console, b"xenstore: web\n")
        with contextlib.closing(Client.connect(toolstack.info()["xenstored_socket"])) as store:
            home = f"/local/domain/{domid}"
            eventually(lambda: "port" in store.directory(f"{home}/console"))
            assert store.read(f"{home}/store/ring-ref") == b"%d" % 0xFEFFC
            assert set(store.directory("/local/domain")) == {"0", str(domid), str(kept)}
        toolstack.destroy(kept)
        # The guest is watching this node still.
        toolstack.shutdown(domid)
        assert toolstack.wait(domid).reason == ShutdownReason.poweroff


def test_what_happened_without_a_daemon_is_dealt_with_by_the_next(host: Host) -> None:
    with host.connect() as toolstack:
        names = ("killed", "ended", "restarted", "kept")
        domids = {name: toolstack.create(host.config(name)) for name in names[:2]}
        domids["restarted"] = toolstack.create(host.config("restarted", on_crash="restart"))
        domids["kept"] = toolstack.create(host.config("kept", on_poweroff="preserve"))
        consoles = {name: toolstack.console(domid) for name, domid in domids.items()}
    kill_daemon(host)
    for name in ("ended", "kept"):
        consoles[name].sendall(b"poweroff\n")
        read_until(consoles[name], b"poweroff\n")
    for name in ("killed", "restarted"):
        host.kill(host.pid_of(f"xen-{name}"))
    for console in consoles.values():
        console.close()
    with host.connect() as toolstack:
        assert toolstack.wait(domids["ended"])[1:] == (ShutdownReason.poweroff, None, False)
        assert toolstack.wait(domids["killed"])[1:] == (ShutdownReason.crash, None, False)
        assert toolstack.wait(domids["kept"])[1:] == (ShutdownReason.poweroff, None, True)
        heir = toolstack.wait(domids["restarted"]).successor
        assert heir is not None
        assert {domain.name for domain in toolstack.list()[1:]} == {"kept", "restarted"}
        assert toolstack.resolve("restarted") == heir
    kill_daemon(host)
    with host.connect() as toolstack:
        assert toolstack.wait(domids["kept"]).preserved


def test_a_domain_whose_creation_was_cut_short_is_not_left_behind(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"), paused=True)
    kill_daemon(host)
    record = host.run_dir / "domains" / f"{domid}.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"building": True}))
    with host.connect() as toolstack:
        eventually(lambda: len(toolstack.list()) == 1)
        eventually(lambda: "xen-web" not in host.processes().values())


def test_a_damaged_record_harms_nobody_else(host: Host) -> None:
    with host.connect() as toolstack:
        toolstack.create(host.config("web"))
    kill_daemon(host)
    (host.run_dir / "domains" / "77.json").write_text("{not json")
    with host.connect() as toolstack:
        assert [domain.name for domain in toolstack.list()] == ["Domain-0", "web"]
    assert not (host.run_dir / "domains" / "77.json").exists()


def test_a_recycled_process_id_is_not_taken_for_the_domain(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
    kill_daemon(host)
    host.kill(host.pid_of("xen-web"))
    record = host.run_dir / "domains" / f"{domid}.json"
    bystander = subprocess.Popen(["sleep", "60"])
    record.write_text(json.dumps(json.loads(record.read_text()) | {"pid": bystander.pid}))
    try:
        with host.connect() as toolstack:
            assert toolstack.wait(domid).reason == ShutdownReason.crash
            assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_killed_zygote_is_replaced(host: Host) -> None:
    with host.connect() as toolstack:
        first = toolstack.create(host.config("first"))
        host.kill(host.pid_of("xen-zygote"))
        eventually(lambda: can_create(toolstack, host, "second"))
        assert [domain.name for domain in toolstack.list()[1:]] == ["first", "second"]
        toolstack.pause(first)


def can_create(toolstack: Toolstack, host: Host, name: str) -> bool:
    try:
        toolstack.create(host.config(name))
    except ToolstackError:
        return False
    return True


def test_concurrent_starts_make_one_daemon(host: Host) -> None:
    program = (
        "from xenolith.toolstack.client import Toolstack\n"
        "toolstack = Toolstack.connect()\n"
        "print(len(toolstack.list()))\n"
    )
    clients = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    outputs = [client.communicate(timeout=30)[0] for client in clients]
    assert outputs == ["1\n"] * 6
    assert len(host.processes()) == 2
    assert host.daemon_pid()


def test_a_daemon_that_cannot_start_says_why(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with host.connect():
        pass
    kill_daemon(host)
    journal = host.run_dir / "xenstored.journal"
    kept = journal.read_bytes()
    journal.write_bytes(b"something else entirely")
    with pytest.raises(ToolstackError, match="not a journal"):
        host.connect()
    journal.write_bytes(kept)


def test_a_second_daemon_refuses_to_run(host: Host) -> None:
    with host.connect():
        done = subprocess.run(
            [sys.executable, "-P", "-m", "xenolith.cli.xenolithd"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert "another daemon runs in" in done.stderr


def test_the_daemon_is_killed_at_any_moment(host: Host) -> None:
    with creating_and_destroying(host) as failures:
        for delay in (0.02, 0.05, 0.08, 0.13, 0.21, 0.34):
            with host.connect():
                pid = host.daemon_pid()
            time.sleep(delay)
            host.kill(pid)
    assert failures == []
    with host.connect() as toolstack:
        # What the last daemon left half-made goes; what it had made is there and can be destroyed.
        for domain in toolstack.list()[1:]:
            with contextlib.suppress(ToolstackError):
                toolstack.destroy(domain.domid)
        eventually(lambda: len(toolstack.list()) == 1, toolstack.list)
        eventually(lambda: len(host.processes()) == 2, host.processes)


@contextlib.contextmanager
def creating_and_destroying(host: Host) -> Iterator[list[BaseException]]:
    """Have another thread do both all the time; yields what went wrong that should not."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                with host.connect() as toolstack:
                    toolstack.destroy(toolstack.create(host.config(f"guest{number}")))
            except ToolstackError:
                continue
            except BaseException as failure:
                failures.append(failure)
                raise

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield failures
    finally:
        # Without fail: it would go on against the user's own daemon.
        stop.set()
        thread.join()


def test_a_daemon_killed_while_a_domain_is_released_leaves_no_trace_of_it(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        path = toolstack.info()["xenstored_socket"]
    kill_daemon(host)
    host.kill(host.pid_of("xen-web"))
    (host.run_dir / "domains" / f"{domid}.json").unlink()
    with host.connect() as toolstack, contextlib.closing(Client.connect(path)) as store:
        assert len(toolstack.list()) == 1
        assert store.directory("/local/domain") == ["0"]
        assert store.directory("/vm") == []
        assert os.listdir(host.run_dir / "domains") == ["last-domid"]
