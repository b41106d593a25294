"""The command sequences of tools that drive xl: Pacemaker's agent, Ganeti, XTF's runner, xenstore-utils."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from guest.build import GuestBuilder

from .host import READY, Host, eventually, read_until
from .terminal import Terminal

pytestmark = pytest.mark.guest


def shell(host: Host, script: str) -> str:
    """What a shell script prints that finds xl in its path."""
    xl = " ".join(host.command())
    return subprocess.run(
        ["bash", "-c", f'xl() {{ {xl} "$@"; }}; {script}'],
        env=host.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def test_pacemakers_agent(host: Host) -> None:
    path = host.config("agent", memory=160, maxmem=192)
    assert shell(host, f"grep ^name {path}") == 'name = "agent"\n'
    assert host.try_xl("list", "agent").returncode != 0
    total = int(shell(host, "xl info | grep ^total_memory | awk '{print $3}'"))
    assert total == int(host.xl("info", "total_memory"))
    shell(host, f'xl create {path} name=\\"agent\\" >/dev/null 2>&1')
    assert host.try_xl("list", "agent").returncode == 0
    assert "agent" in shell(host, "xl list | awk '{print $1}'").split()
    with host.running_xl("console", "agent") as console:
        read_until(console, READY)
    vcpus, memory = shell(host, "xl list agent | awk 'NR==2 {print $4, $3}'").split()
    assert (vcpus, memory in ("159", "160")) == ("1", True)
    host.xl("mem-set", "agent", memory)
    shell(
        host, "xl shutdown agent 2>/dev/null; while xl list agent >/dev/null 2>&1; do sleep 1; done"
    )
    assert "agent" not in host.names()
    assert host.try_xl("trigger", "agent", "power").returncode != 0
    assert host.try_xl("destroy", "agent").returncode != 0


def test_pacemakers_agent_presses_the_power_button(host: Host) -> None:
    """With shutdown_acpi set it presses the button, and waits as for a shutdown."""
    host.xl("create", host.config("agent"))
    with host.running_xl("console", "agent") as console:
        read_until(console, READY)
    pressed = host.try_xl("trigger", "agent", "power")
    assert pressed.returncode == 0
    assert "no ACPI power button" in pressed.stderr
    shell(host, "while xl list agent >/dev/null 2>&1; do sleep 1; done")
    assert "Power down" in (host.logs / "guest-agent.log").read_text(errors="replace")


def test_ganeti(host: Host) -> None:
    assert host.try_xl("help").returncode == 0
    info = dict(re.findall(r"^(\w+) *: ?(.*)$", host.xl("info"), re.MULTILINE))
    for key in ("total_memory", "free_memory", "nr_cpus", "nr_nodes", "cores_per_socket",
                "threads_per_core", "xen_major", "xen_minor"):  # fmt: skip
        assert int(info[key]) > 0
    path = host.config(
        "instance.example", bootargs="", maxmem=256, cpus="all", cpu_cap=0, cpu_weight=256, vif=[],
        disk=[], root="/dev/xvda1", on_poweroff="preserve", on_reboot="restart",
        on_crash="restart",
    )  # fmt: skip
    host.xl("create", "-p", path)
    host.xl("unpause", "instance.example")
    with host.running_xl("console", "instance.example") as console:
        read_until(console, READY)
    running = {"r-----", "rb----", "-b----", "------"}
    eventually(lambda: host.row("instance.example").state in running)
    host.xl("rename", "instance.example", "instance.renamed")
    host.xl("mem-set", "instance.renamed", 192)
    before = host.row("instance.renamed")
    host.xl("reboot", "instance.renamed")
    eventually(
        lambda: (
            "instance.renamed" in host.names()
            and host.row("instance.renamed").domid != before.domid
        ),
        host.list,
    )
    with host.running_xl("console", "instance.renamed") as console:
        read_until(console, READY)
    host.xl("shutdown", "-w", "instance.renamed")
    # It is preserved: Ganeti sees that it is shut down, and destroys it.
    assert host.row("instance.renamed").state == "---s--"
    host.xl("destroy", "instance.renamed")
    assert "instance.renamed" not in host.names()
    # It powercycles a node so, after the node's own reboot has failed; ours is not the node.
    assert host.try_xl("debug", "R").returncode == 1


def test_xtfs_runner(host: Host) -> None:
    assert "pvh" in host.xl("info", "virt_caps").split()
    assert "hvm-3.0-x86_64" in host.xl("info", "xen_caps").split()
    path = host.config("test-pvh64", extra="xenolith.run=true")
    host.xl("create", "-p", path)
    with host.running_xl("console", "test-pvh64", stderr=subprocess.PIPE) as console:
        host.xl("unpause", "test-pvh64")
        seen, _ = console.communicate(timeout=60)
        assert console.returncode == 0
    assert seen == (host.logs / "guest-test-pvh64.log").read_bytes()
    assert READY in seen


@pytest.mark.parametrize("rounds", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_xtfs_runner_with_a_test_that_is_over_at_once(
    host: Host, tiny_guests: GuestBuilder, rounds: int
) -> None:
    """The console is started before the unpause, but which of them comes first is chance."""
    kernel = str(tiny_guests.build("corners/hello"))
    path = host.config("test-hello", kernel=kernel, ramdisk="", memory=32, extra="answer=0x2a")
    for _ in range(rounds):
        host.xl("create", "-p", path)
        with host.running_xl("console", "test-hello", stderr=subprocess.PIPE) as console:
            host.xl("unpause", "test-hello")
            seen, errors = console.communicate(timeout=20)
        assert console.returncode == 0, errors
        assert seen.startswith(b"by the debug port\n")
        assert seen.endswith(b"Test result: SUCCESS\n")
        assert seen.count(b"by the debug port") == 1
        eventually(lambda: "test-hello" not in host.names())


needs_xenstore_utils = pytest.mark.skipif(
    shutil.which("xenstore-ls") is None, reason="needs xenstore-utils"
)


@needs_xenstore_utils
def test_debians_xenstore_tools_see_the_guest(host: Host, debian: Terminal) -> None:
    debian.run("true")
    home = f"/local/domain/{host.row('debian').domid}"
    assert host.xenstore("xenstore-read", f"{home}/name").stdout == "debian\n"
    listing = host.xenstore("xenstore-ls", "-f", home).stdout
    # What the guest's kernel has written.
    assert f'{home}/control/feature-poweroff = "1"' in listing
    assert f'{home}/memory/target = "' in listing
    assert host.xenstore("xenstore-write", f"{home}/data/a", "1").returncode == 0
    assert host.xenstore("xenstore-exists", f"{home}/data/a").returncode == 0
    assert host.xenstore("xenstore-list", f"{home}/data").stdout.split() == ["a"]
    assert host.xenstore("xenstore-chmod", f"{home}/data/a", "r0").returncode == 0
    assert host.xenstore("xenstore-rm", f"{home}/data/a").returncode == 0
    assert host.xenstore("xenstore-exists", f"{home}/data/a").returncode == 1


@needs_xenstore_utils
def test_debians_xenstore_watch_hears_of_a_new_domain(host: Host) -> None:
    command = ["xenstore-watch", "-n", "2", "@introduceDomain"]
    with subprocess.Popen(
        command,
        env={**host.environment, "XENSTORED_PATH": host.xenstore_socket()},
        stdout=subprocess.PIPE,
    ) as watch:
        read_until(watch, b"@introduceDomain\n")
        host.xl("create", "-p", host.config("web"))
        assert watch.wait(10) == 0
