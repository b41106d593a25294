"""Debian's unmodified kernel as a PV domain: to user space, at work, and to its end."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest

from .host import READY, Host, eventually, read_until
from .terminal import Terminal

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def pv(shared_host: Host) -> Iterator[Terminal]:
    """The shell of a PV guest with two vCPUs, for the tests of this module."""
    shared_host.xl("create", shared_host.config("pv", type="pv", vcpus=2, maxvcpus=3))
    with shared_host.terminal("console", "pv") as terminal:
        terminal.wait_for(b"# ", timeout=90)
        yield terminal
    shared_host.try_xl("destroy", "pv")


def test_it_knows_that_it_runs_on_xen(pv: Terminal) -> None:
    messages = pv.run("dmesg")
    assert "Hypervisor detected: Xen PV" in messages
    assert "Booting kernel on Xen" in messages
    assert "multicall" not in messages
    assert "BUG" not in messages and "WARNING" not in messages


def test_all_its_vcpus_run(shared_host: Host, pv: Terminal) -> None:
    assert pv.run("nproc") == "2\n"
    count = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
    pv.run(f"for c in 1 2; do taskset $c sh -c '{count}' & done; wait", timeout=60)
    assert re.search(r"^pv +\d+ +1 +\S+ +\S+ +[1-9]", shared_host.xl("vcpu-list", "pv"), re.M)


def test_programs_start_fork_and_end(pv: Terminal) -> None:
    counted = pv.run(
        "i=0; while [ $i -lt 40 ]; do /bin/busybox true; i=$((i+1)); done; echo $i", 60
    )
    assert counted == "40\n"
    assert pv.run("seq 1 20000 | sort -rn | head -n 1") == "20000\n"


def test_its_memory_is_what_it_was_given(shared_host: Host, pv: Terminal) -> None:
    total = int(pv.run("grep MemTotal /proc/meminfo").split()[1])
    assert 200 << 10 < total < 256 << 10
    assert shared_host.row("pv").memory == 256


def test_its_hypercalls_are_shown(shared_host: Host, pv: Terminal) -> None:
    with shared_host.running_xl("strace", "pv") as trace:
        read_until(trace, b"attached to domain")
        pv.run("ls / > /dev/null")
        read_until(trace, b"cmd=NEW_BASEPTR, arg1=")
        trace.send_signal(signal.SIGINT)
        assert trace.wait(10) == 128 + signal.SIGINT


def test_its_memory_shrinks_and_grows(host: Host) -> None:
    host.xl("create", host.config("web", type="pv", maxmem=512))
    with host.running_xl("console", "web") as console:
        read_until(console, READY, 90)
    host.xl("mem-set", "web", 180)
    eventually(lambda: host.row("web").memory == 180, host.list)
    host.xl("mem-set", "web", 400)
    eventually(lambda: host.row("web").memory == 400, host.list)


def test_it_reboots_and_shuts_down_on_request(host: Host) -> None:
    host.xl("create", host.config("web", type="pv"))
    with host.running_xl("console", "web") as console:
        read_until(console, READY, 90)
    first = host.row("web").domid
    host.xl("reboot", "web")
    eventually(lambda: "web" in host.names() and host.row("web").domid > first, host.list)
    with host.running_xl("console", "web") as console:
        read_until(console, READY, 90)
    done = host.try_xl("shutdown", "-w", "web")
    assert done.returncode == 0
    assert "reason code 0" in done.stderr


def test_a_kernel_without_an_entry_for_pv_is_refused(host: Host) -> None:
    kernel = host.directory / "not-a-kernel"
    kernel.write_bytes(b"\x7fELF" + bytes(60))
    refused = host.try_xl("create", host.config("web", type="pv", kernel=str(kernel)))
    assert refused.returncode == 1
    assert "not-a-kernel" in refused.stderr
    assert "web" not in host.names()
