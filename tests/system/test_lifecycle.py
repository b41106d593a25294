"""How guests end and start again: on request, by themselves, and by crashing."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from .host import READY, Host, eventually, read_until

pytestmark = pytest.mark.guest

ALL_KEYS = "sysrq_always_enabled"
"""Debian's kernels keep some SysRq keys for root alone, that to crash among them."""

CRASH = 'xenolith.run="echo c > /proc/sysrq-trigger"'


def wait_until_up(host: Host, name: str) -> bytes:
    with host.running_xl("console", name) as console:
        return read_until(console, READY)


def test_a_guest_reboots_under_a_new_domid_and_shuts_down_on_request(host: Host) -> None:
    host.xl("create", host.config("web"))
    wait_until_up(host, "web")
    first = host.row("web").domid
    done = host.try_xl("reboot", "web")
    assert (done.returncode, done.stderr) == (0, f"Rebooting domain {first}\n")
    eventually(lambda: "web" in host.names() and host.row("web").domid > first, host.list)
    assert wait_until_up(host, "web").startswith(b"[    0.000000] Linux version")
    domid = host.row("web").domid
    done = host.try_xl("shutdown", "-w", "web")
    assert done.returncode == 0
    assert f"Domain {domid} has been shut down, reason code 0" in done.stderr
    assert "web" not in host.names()
    log = (host.logs / "guest-web.log").read_text(errors="replace")
    assert "reboot: Restarting system" in log
    assert "reboot: Power down" in log


def test_destroy_ends_a_guest_at_once(host: Host) -> None:
    host.xl("create", host.config("web"))
    pid = host.domain_pid("web")
    host.xl("destroy", "web")
    assert "web" not in host.names()
    assert pid not in host.processes()


def test_a_preserved_guest_stays_to_be_looked_at(host: Host) -> None:
    host.xl("create", host.config("web", extra="xenolith.run=true", on_poweroff="preserve"))
    eventually(lambda: host.row("web").state == "---s--", host.list)
    assert READY in wait_until_up(host, "web")
    host.xl("shutdown", "-w", "web")
    assert host.row("web").state == "---s--"
    assert host.try_xl("reboot", "web").returncode == 1
    host.xl("destroy", "web")


def test_all_guests_shut_down_together(own_host: Host) -> None:
    for name in ("web", "mail"):
        own_host.xl("create", own_host.config(name))
    for name in ("web", "mail"):
        wait_until_up(own_host, name)
    done = own_host.try_xl("shutdown", "-a", "-w")
    assert done.returncode == 0, done.stderr
    assert own_host.names() == set()


def test_a_crash_leaves_a_core_and_a_new_guest(host: Host) -> None:
    host.xl("create", host.config("web", extra=ALL_KEYS, on_crash="coredump-restart"))
    wait_until_up(host, "web")
    first = host.row("web").domid
    host.xl("sysrq", "web", "c")
    eventually(lambda: "web" in host.names() and host.row("web").domid > first, host.list)
    wait_until_up(host, "web")
    (core,) = host.dumps.glob(f"web-{first}-*.core")
    headers = subprocess.run(
        ["readelf", "-hlW", core], capture_output=True, text=True, check=True
    ).stdout
    assert "CORE (Core file)" in headers
    # 256 MiB, in several stretches because of the hole below 1 MiB.
    loads = [line.split() for line in headers.splitlines() if line.split()[:1] == ["LOAD"]]
    assert sum(int(load[4], 16) for load in loads) >= 255 << 20
    assert core.stat().st_blocks * 512 < 200 << 20
    if shutil.which("gdb") is None:
        return
    gdb = subprocess.run(
        ["gdb", "-batch", "-nx", "-core", core, "-ex", "x/1xw 0x1000000"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"^0x1000000:\s+0x[0-9a-f]{8}$", gdb.stdout, re.MULTILINE), gdb


def test_a_crashed_guest_is_renamed_and_started_anew(host: Host) -> None:
    host.xl("create", host.config("web", extra=ALL_KEYS, on_crash="rename-restart"))
    wait_until_up(host, "web")
    first = host.row("web").domid
    host.xl("sysrq", "web", "c")
    eventually(lambda: "web" in host.names() and host.row("web").domid > first, host.list)
    (old,) = (row for row in host.list() if row.domid == first)
    assert old.name.startswith("web-")
    assert old.state == "---sc-"
    wait_until_up(host, "web")


def test_a_guest_whose_first_process_crashes_it_is_shown_crashed(host: Host) -> None:
    host.xl("create", host.config("web", extra=CRASH, on_crash="preserve"))
    eventually(lambda: host.row("web").state == "---sc-", host.list)
    assert b"sysrq triggered crash" in (host.logs / "guest-web.log").read_bytes()
