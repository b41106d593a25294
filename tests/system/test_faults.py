"""Processes that die, disks that fill up: what runs goes on, and what is lost is said."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .host import READY, Host, eventually, kill, read_until

pytestmark = pytest.mark.guest


def test_a_killed_domain_process_is_a_crash_that_leaves_only_the_log(own_host: Host) -> None:
    own_host.xl("create", own_host.config("web", on_crash="preserve"))
    own_host.xl("create", "-p", own_host.config("other"))
    domid = own_host.row("web").domid
    with own_host.running_xl("console", "web") as console:
        read_until(console, READY)
        kill(own_host.domain_pid("web"))
        assert console.wait(10) == 0
    eventually(lambda: own_host.row("web").state == "---sc-", own_host.list)
    assert "lost its process" in own_host.xl("dmesg")
    assert READY in (own_host.logs / "guest-web.log").read_bytes()
    for verb in ("console", "pause", "reboot"):
        refused = own_host.try_xl(verb, "web")
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
    own_host.xl("destroy", "web")
    assert own_host.names() == {"other"}
    home = own_host.xenstore("xenstore-exists", f"/local/domain/{domid}")
    assert home.returncode == 1
    assert not [
        name for name in os.listdir(own_host.run_dir / "domains") if name.startswith(f"{domid}.")
    ]


def test_a_killed_domain_process_restarts_as_configured(own_host: Host) -> None:
    own_host.xl("create", "-p", own_host.config("web", on_crash="restart"))
    first = own_host.row("web").domid
    kill(own_host.domain_pid("web"))
    eventually(lambda: "web" in own_host.names() and own_host.row("web").domid > first)


def test_a_guest_does_not_notice_the_death_of_the_daemon(own_host: Host) -> None:
    own_host.xl("create", own_host.config("web"))
    with own_host.terminal("console", "web") as terminal:
        terminal.wait_for(b"# ")
        terminal.run("echo before")
        domid = own_host.row("web").domid
        pid = own_host.domain_pid("web")
        path = f"/local/domain/{domid}/data/kept"
        assert own_host.xenstore("xenstore-write", path, "by the old").returncode == 0
        before = own_host.xenstore("xenstore-ls", "-f").stdout
        for _ in range(2):
            kill(own_host.daemon_pid())
            # The console is the domain's own business, and the guest runs on without a daemon.
            assert terminal.run("echo meanwhile") == "meanwhile\n"
            row = own_host.row("web")
            assert (row.domid, own_host.domain_pid("web")) == (domid, pid)
            assert own_host.xenstore("xenstore-ls", "-f").stdout == before
        # The guest's watches have survived as well: it hears of all this through the store.
        own_host.xl("mem-set", "web", 200)
        eventually(lambda: own_host.row("web").memory in (199, 200), own_host.list)
        own_host.xl("sysrq", "web", "h")
        terminal.wait_for(b"sysrq: HELP :")
        done = own_host.try_xl("shutdown", "-w", "web")
        assert done.returncode == 0, done.stderr
        assert terminal.wait_end() == 0
    assert own_host.names() == set()


def test_a_guest_can_be_shut_down_when_xenstores_journal_is_lost(own_host: Host) -> None:
    own_host.xl("create", own_host.config("web"))
    with own_host.running_xl("console", "web") as console:
        read_until(console, READY)
        kill(own_host.daemon_pid())
        (own_host.run_dir / "xenstored.journal").unlink()
        done = own_host.try_xl("shutdown", "-w", "web")
        assert done.returncode == 0, done.stderr
        assert console.wait(10) == 0


def test_a_guest_that_ends_without_a_daemon_is_dealt_with_by_the_next(own_host: Host) -> None:
    path = own_host.config("web", extra='xenolith.run="sleep 1"', on_poweroff="preserve")
    own_host.xl("create", path)
    with own_host.running_xl("console", "web") as console:
        read_until(console, READY)
        kill(own_host.daemon_pid())
        read_until(console, b"Power down")
    eventually(lambda: own_host.row("web").state == "---s--", own_host.list)
    own_host.xl("create", "-p", own_host.config("gone", on_crash="destroy"))
    pid = own_host.domain_pid("gone")
    kill(own_host.daemon_pid())
    kill(pid)
    eventually(lambda: own_host.names() == {"web"}, own_host.list)


def test_a_killed_zygote_is_replaced(own_host: Host) -> None:
    own_host.xl("create", "-p", own_host.config("web"))
    (zygote,) = (
        pid
        for pid in own_host.processes()
        if Path(f"/proc/{pid}/comm").read_text() == "xen-zygote\n"
    )
    kill(zygote)
    own_host.xl("create", "-p", own_host.config("mail"))
    assert own_host.names() == {"web", "mail"}


@contextlib.contextmanager
def small_file_system(directory: Path, size: str) -> Iterator[None]:
    """Have a directory be on a file system of its own; skip the test where that is not allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs privileges")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_file_system(disk, "1m"):
        yield disk


def fill(path: Path) -> None:
    """Make a file that takes all the room that there is."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(fd, bytes(4096))
    os.close(fd)


def test_a_full_disk_under_the_console_log_stops_no_guest(own_host: Host, small_disk: Path) -> None:
    own_host.environment["XENOLITH_STATE_DIR"] = str(small_disk)
    own_host.xl("create", own_host.config("web"))
    with own_host.terminal("console", "web") as terminal:
        terminal.wait_for(b"# ")
        ballast = small_disk / "ballast"
        fill(ballast)
        assert (
            terminal.run("seq 1 30000 | tail -n 2; echo still here") == "29999\n30000\nstill here\n"
        )
        # More than is kept in memory: the oldest of it is lost, and the log says so.
        terminal.run("cat /dev/zero | tr '\\0' x | head -c 1500000; echo", timeout=120)
        assert own_host.try_xl("list").returncode == 0
        ballast.unlink()
        terminal.run("echo the disk is mended")
        text = (small_disk / "logs" / "guest-web.log").read_bytes()
        assert text.startswith(b"[    0.000000] Linux version")
        terminal.run("echo once more")
    done = own_host.try_xl("shutdown", "-w", "web")
    assert done.returncode == 0, done.stderr


def test_a_full_run_directory_stops_no_guest(own_host: Host) -> None:
    """What cannot be recorded is refused; what runs can be seen, used, ended, and found again."""
    with small_file_system(own_host.run_dir, "2m"):
        own_host.environment["XENOLITH_STATE_DIR"] = str(own_host.directory / "state")
        own_host.xl("create", own_host.config("web"))
        own_host.xl("create", "-p", own_host.config("other"))
        with own_host.terminal("console", "web") as terminal:
            terminal.wait_for(b"# ")
            fill(own_host.run_dir / "ballast")
            for refused in (
                own_host.try_xl("create", own_host.config("third")),
                own_host.try_xl("rename", "web", "renamed"),
            ):
                assert refused.returncode == 1
                assert "No space left on device" in refused.stderr
            assert terminal.run("echo still here") == "still here\n"
            own_host.xl("destroy", "other")
            kill(own_host.daemon_pid())
            assert own_host.names() == {"web"}
            (own_host.run_dir / "ballast").unlink()
            own_host.xl("shutdown", "-w", "web")
        own_host.clean_up()
    own_host.run_dir.rmdir()
    own_host.run_dir.mkdir(mode=0o700)
    own_host.environment.pop("XENOLITH_STATE_DIR")
    own_host.xl("list")


def test_a_limit_on_file_sizes_is_told(own_host: Host) -> None:
    """RLIMIT_FSIZE sends a signal besides failing the write."""
    own_host.start_daemon(f"--fsize={1 << 20}")
    failed = own_host.try_xl("create", own_host.config("web"))
    assert failed.returncode == 1
    assert "File too large" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert own_host.names() == set()


def test_when_memory_is_short_a_domain_fails_alone(own_host: Host) -> None:
    """An address space too small for the guest: a sentence, and a daemon that goes on."""
    own_host.start_daemon(f"--as={2 << 30}")
    own_host.xl("create", "-p", own_host.config("small"))
    failed = own_host.try_xl("create", own_host.config("large", memory=8192))
    assert failed.returncode == 1
    assert "Cannot allocate memory" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert own_host.names() == {"small"}
    eventually(lambda: len(own_host.domain_processes()) == 1, own_host.processes)


@contextlib.contextmanager
def memory_limit(pid: int, size: int) -> Iterator[None]:
    """Have the kernel kill a process that takes more memory; skip the test where that cannot be asked."""
    for parent, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = parent / f"xenolith-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / limit).exists():
                (group / limit).write_text(str(size))
                (group / "cgroup.procs").write_text(str(pid))
                yield
                return
        finally:
            group.rmdir()
    pytest.skip("limiting the memory of a process needs a control group")


def test_a_guest_for_which_the_host_has_no_memory_dies_alone(own_host: Host) -> None:
    """Its memory is not reserved: it is killed when it touches what is not there."""
    own_host.xl("create", "-p", own_host.config("hungry", on_crash="preserve"))
    own_host.xl("create", "-p", own_host.config("calm"))
    with memory_limit(own_host.domain_pid("hungry"), 32 << 20):
        own_host.xl("unpause", "hungry")
        eventually(lambda: own_host.row("hungry").state == "---sc-", own_host.list, timeout=60)
    assert "lost its process" in own_host.xl("dmesg")
    assert own_host.row("calm").state == "--p---"
    own_host.xl("destroy", "hungry")
    assert own_host.names() == {"calm"}


def test_the_run_directory_of_somebody_else_is_refused(own_host: Host) -> None:
    own_host.xl("list")
    os.chmod(own_host.run_dir, 0o777)
    refused = own_host.try_xl("list")
    os.chmod(own_host.run_dir, 0o700)
    assert refused.returncode == 1
    assert str(own_host.run_dir) in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_daemon_that_ends_in_order_leaves_its_domains(own_host: Host) -> None:
    own_host.xl("create", "-p", own_host.config("web"))
    pid = own_host.domain_pid("web")
    kill(own_host.daemon_pid(), signal.SIGTERM)
    time.sleep(0.2)
    assert own_host.names() == {"web"}
    assert own_host.domain_pid("web") == pid
