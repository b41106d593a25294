"""The verbs that say how things are, and those that change a name or a state, on a running guest."""

from __future__ import annotations

import json
import re
import uuid

import pytest

from .host import Host, eventually
from .terminal import Terminal

pytestmark = pytest.mark.guest

HEADER = "Name                                        ID   Mem VCPUs\tState\tTime(s)"


@pytest.fixture
def domid(host: Host, debian: Terminal) -> int:
    debian.run("true")
    return int(host.xl("domid", "debian"))


def test_list_prints_xls_table(host: Host, domid: int) -> None:
    header, dom0, debian = host.xl("list").splitlines()
    assert header == HEADER
    assert re.fullmatch(r"Domain-0 {32} {5}0 +\d+ +\d+     r-----   +\d+\.\d", dom0)
    assert re.fullmatch(
        rf"debian {{34}} {domid:5d}   25[56]     2     [r-][b-]----   +\d+\.\d", debian
    )
    assert host.xl("list", "debian").splitlines()[1].split()[:2] == ["debian", str(domid)]
    assert host.xl("list", domid).splitlines()[1].split()[:2] == ["debian", str(domid)]


def test_list_of_a_domain_that_is_not_there_fails(host: Host) -> None:
    done = host.try_xl("list", "absent")
    assert done.returncode != 0
    assert "absent" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_idle_guest_is_shown_blocked(host: Host, debian: Terminal) -> None:
    debian.run("true")
    eventually(lambda: host.row("debian").state == "-b----")


def test_a_busy_guest_is_shown_running_and_uses_time(host: Host, debian: Terminal) -> None:
    debian.run("while :; do :; done & busy=$!")
    before = host.row("debian").seconds
    eventually(lambda: host.row("debian").state == "r-----")
    eventually(lambda: host.row("debian").seconds > before + 0.5)
    debian.run("kill $busy")


def test_list_as_json_and_in_full(host: Host, domid: int) -> None:
    dom0, debian = json.loads(host.xl("list", "--json"))
    assert (dom0["domid"], debian["domid"], debian["name"]) == (0, domid, "debian")
    (long,) = json.loads(host.xl("list", "-l", "debian"))
    assert long["domid"] == domid
    assert long["config"]["c_info"]["name"] == "debian"
    assert long["config"]["c_info"]["type"] == "pvh"
    assert uuid.UUID(long["config"]["c_info"]["uuid"]) == uuid.UUID(debian["uuid"])


@pytest.mark.parametrize(
    ("option", "column"),
    [("-v", "UUID"), ("-Z", "Security Label"), ("-c", "Cpupool"), ("-n", "NODE Affinity")],
)
def test_list_adds_columns(host: Host, domid: int, option: str, column: str) -> None:
    header, _, row = host.xl("list", option).splitlines()
    assert header.startswith(HEADER)
    assert column in header
    assert len(row.split()) > 6


def test_names_and_numbers(host: Host, domid: int) -> None:
    assert host.xl("domname", domid) == "debian\n"
    host.xl("rename", "debian", "renamed")
    assert host.xl("domid", "renamed") == f"{domid}\n"
    assert host.try_xl("domid", "debian").returncode == 1
    host.xl("rename", domid, "debian")
    assert host.xl("domid", "debian") == f"{domid}\n"
    assert host.xl("vm-list").splitlines()[-1].split()[1:] == [str(domid), "debian"]


def test_vcpu_list_shows_online_and_offline(host: Host, domid: int) -> None:
    rows = [line.split() for line in host.xl("vcpu-list", "debian").splitlines()[1:]]
    assert [row[:3] for row in rows] == [["debian", str(domid), str(vcpu)] for vcpu in range(3)]
    assert [row[4] in ("r--", "-b-") for row in rows] == [True, True, False]
    assert rows[2][4] == "--p"
    online = [vcpu["online"] for vcpu in json.loads(host.xl("vcpu-list", "--json", "debian"))]
    assert online == [True, True, False]


def test_the_guest_has_the_vcpus_of_its_configuration(debian: Terminal) -> None:
    assert debian.run("nproc; cat /sys/devices/system/cpu/possible") == "2\n0-2\n"


def test_uptime_counts(host: Host, domid: int) -> None:
    header, _, debian = host.xl("uptime").splitlines()
    assert header.split() == ["Name", "ID", "Uptime"]
    assert re.fullmatch(rf"debian +{domid} +0:\d\d:\d\d", debian.strip())


def test_info_has_xls_keys_in_order(host: Host, domid: int) -> None:
    lines = host.xl("info").splitlines()
    keys = [line.partition(":")[0].strip() for line in lines]
    expected = [
        *("host", "release", "version", "machine", "nr_cpus", "max_cpu_id", "nr_nodes"),
        *("cores_per_socket", "threads_per_core", "cpu_mhz", "hw_caps", "virt_caps"),
        *("total_memory", "free_memory", "sharing_freed_memory", "sharing_used_memory"),
        *("outstanding_claims", "free_cpus"),
    ]
    assert keys[: len(expected)] == expected
    assert all(line[23:25] == ": " or line[23:] == ":" for line in lines)
    assert int(host.xl("info", "total_memory")) > int(host.xl("info", "free_memory")) > 0
    assert {"pv", "pvh"} <= set(host.xl("info", "virt_caps").split())
    assert json.loads(host.xl("info", "--json"))["nr_cpus"] == host.xl("info", "nr_cpus").strip()


def test_pause_holds_the_guest_until_unpause(host: Host, debian: Terminal) -> None:
    debian.run("true")
    host.xl("pause", "debian")
    # An idle guest is blocked as well, as on Xen.
    assert host.row("debian").state in ("--p---", "-bp---")
    used = host.row("debian").seconds
    shown = len(debian.seen)
    debian.type(b"echo typed while paused\n")
    assert host.row("debian").seconds == used
    assert debian.seen[shown:] == b""
    host.xl("unpause", "debian")
    debian.wait_for(b"\ntyped while paused")


def test_a_sysrq_key_is_pressed_in_the_guest(host: Host, debian: Terminal) -> None:
    host.xl("sysrq", "debian", "h")
    debian.wait_for(b"sysrq: HELP :")


def test_an_nmi_reaches_the_vcpu_it_is_for(host: Host, debian: Terminal) -> None:
    def counts() -> list[int]:
        line = debian.run("grep NMI: /proc/interrupts").split()
        return [int(word) for word in line[1:] if word.isdigit()]

    before = counts()
    host.xl("trigger", "debian", "nmi", 1)
    eventually(lambda: counts() == [before[0], before[1] + 1], counts)
    assert host.try_xl("trigger", "debian", "nmi", 9).returncode == 1
    assert host.try_xl("trigger", "debian", "dance").returncode != 0


def test_dmesg_knows_of_the_hypervisor(host: Host, domid: int) -> None:
    assert "(XEN)" in host.xl("dmesg")


def test_every_verb_has_help(host: Host) -> None:
    overview = host.xl("help")
    verbs = [line.split()[0] for line in overview.splitlines()[4:]]
    assert {"create", "list", "console", "strace"} <= set(verbs)
    for verb in ("create", "list", "shutdown"):
        assert host.xl("help", verb) == host.xl(verb, "--help")
