"""The command line of xl: verbs, options, exit statuses, and what is imported for them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_daemon import RefusalError, ScriptedDaemon, domain

from xenolith import __version__
from xenolith.cli import verbs
from xenolith.cli.command import CommandError
from xenolith.cli.sizes import memory_kib
from xenolith.cli.xl import main
from xenolith.toolstack.records import VcpuInfo

DOMAINS = [
    domain(0, "Domain-0", running=True, blocked=False, vcpus=2),
    domain(3, "deb", start_time=time.time() - 3661),
    domain(12, "old", blocked=False, shutdown=True, shutdown_reason=3),
]


def resolve(domain: str) -> int:
    for known in DOMAINS:
        if domain in (known.name, str(known.domid)):
            return known.domid
    raise RefusalError(f"Domain '{domain}' does not exist")


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    monkeypatch.setenv("XENOLITH_RUN_DIR", str(tmp_path))
    daemon = ScriptedDaemon({"list": lambda: DOMAINS, "resolve": resolve})
    yield daemon
    daemon.close()


def nothing(**_params: Any) -> None:
    """An answer that says only that it was done."""


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nonsense"], 1, "Error: there is no command 'nonsense', see 'xl help'"),
        (["lsit"], 1, "Error: there is no command 'lsit' (did you mean 'list'?)"),
        (["save", "deb", "file"], 1, "Error: xl save is not supported by Xenolith yet"),
        (["mem"], 1, "Error: 'mem' may be any of mem-set, mem-max"),
        (["-x", "list"], 1, "Error: option -x not recognized among the global options"),
        (["-N", "list"], 1, "Error: xl list does not implement -N (dry run)"),
        (
            ["list", "-x"],
            2,
            "Error: xl list: option -x not recognized (usage: xl list [OPTIONS] [DOMAIN...])",
        ),
        (
            ["destroy"],
            2,
            "Error: xl destroy: at least 1 argument needed (usage: xl destroy [-f] DOMAIN)",
        ),
        (
            ["pause", "a", "b"],
            2,
            "Error: xl pause: unexpected argument 'b' (usage: xl pause DOMAIN)",
        ),
        (
            ["mem-set", "d"],
            2,
            "Error: xl mem-set: at least 2 arguments needed (usage: xl mem-set DOMAIN SIZE)",
        ),
        (
            ["shutdown"],
            2,
            "Error: xl shutdown: either -a or a domain is needed "
            "(usage: xl shutdown [OPTIONS] -a|DOMAIN)",
        ),
        (["mem-set", "d", "lots"], 1, "Error: 'lots' is not an amount of memory, such as 512, "),
        (["trigger", "d", "bang"], 1, "Error: 'bang' is no trigger, those are nmi, reset, init, "),
        (["trigger", "d", "nmi", "-1"], 2, "Error: xl trigger: option -1 not recognized"),
        (["trigger", "d", "nmi", "x"], 1, "Error: 'x' is not the number of a vCPU"),
        (["sysrq", "d", "ab"], 1, "Error: 'ab' is not one letter"),
        (["console", "-t", "tape", "d"], 1, "Error: 'tape' is no type of console, those are pv, "),
        (["console", "-n", "1", "d"], 1, "Error: the domain has no pv console 1"),
        (["domname", "deb"], 1, "Error: 'deb' is not a domain ID"),
        (["help", "nonsense"], 1, "Error: there is no command 'nonsense', see 'xl help'"),
        (["completion", "tcsh"], 1, "Error: there is no completion for 'tcsh', only for bash"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_help_lists_every_verb_in_the_form_that_completion_scripts_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["help"]) == 0
    listing = capsys.readouterr().out
    lines = listing.splitlines()
    assert [line.split()[0] for line in lines[4:]] == list(verbs.VERBS)
    assert all(line.startswith(f" {line.split()[0]:<19} ") for line in lines[4:])
    assert main(["-h"]) == 0
    assert capsys.readouterr().out == listing
    assert main(["help", "--long"]) == 0
    assert capsys.readouterr().out == listing
    assert main([]) == 1
    assert capsys.readouterr().out == listing


@pytest.mark.parametrize("name", verbs.VERBS)
def test_every_verb_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    verb = verbs.load(name)
    assert name == verb.NAME
    assert main(["help", name]) == 0
    explained = capsys.readouterr().out
    assert explained.startswith(f"Usage: xl [-vfNtT] {name}")
    for letter in verb.SHORT.replace(":", ""):
        assert f"\n-{letter}" in explained, f"-{letter} is not explained"
    for long in verb.LONG:
        assert f"--{long}" in explained, f"--{long} is not explained"
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out == explained
    lines = explained.splitlines()
    assert max(map(len, lines)) <= 100


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"xl (Xenolith) {__version__}\n"


def test_listing_domains_imports_little() -> None:
    heavy = ("argparse", "dataclasses", "inspect", "difflib", "xenolith.toolstack.config")
    program = "import sys; from xenolith.cli import verbs, xl; verbs.load('list')\n"
    program += f"print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_list(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["Name", "ID", "Mem", "VCPUs", "State", "Time(s)"]
    assert [row.split() for row in rows] == [
        ["Domain-0", "0", "256", "2", "r-----", "0.0"],
        ["deb", "3", "256", "1", "-b----", "0.0"],
        ["old", "12", "256", "1", "---sc-", "0.0"],
    ]
    assert main(["li", "12", "deb"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "Name",
        "old",
        "deb",
    ]


def test_list_of_an_unknown_domain(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "nobody"]) == 1
    assert capsys.readouterr() == ("", "Error: Domain 'nobody' does not exist\n")


def test_list_with_every_column(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "-vcn", "old"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.endswith(
        "\tTime(s)   UUID                            Reason-Code\tSecurity Label"
        "         Cpupool NODE Affinity"
    )
    assert row.endswith(f"0.0 {DOMAINS[2].uuid}        3                -          Pool-0 all")
    assert main(["list", "--context", "old"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.endswith("\tTime(s)   Security Label")
    assert row.endswith("0.0                -")


def test_list_as_json(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"name": "deb", "type": "pvh", "kernel": "/k", "memory": 256, "maxmem": 256}
    daemon.answers["config"] = lambda domid: config
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["shutdown_reason"]) for row in rows] == [
        ("Domain-0", None),
        ("deb", None),
        ("old", 3),
    ]
    assert main(["list", "-l", "deb"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["domid"] == 3
    assert entry["config"]["c_info"]["name"] == "deb"
    assert entry["config"]["b_info"]["target_memkb"] == 262144


@pytest.mark.parametrize(
    ("arguments", "method", "params"),
    [
        (["destroy", "deb"], "destroy", {"domid": 3}),
        (["pause", "deb"], "pause", {"domid": 3}),
        (["unpause", "12"], "unpause", {"domid": 12}),
        (["rename", "deb", "sid"], "rename", {"domid": 3, "name": "sid"}),
        (["mem-set", "deb", "512"], "set_memory_target", {"domid": 3, "kib": 524288}),
        (["mem-max", "deb", "2g"], "set_max_memory", {"domid": 3, "kib": 2097152}),
        (["trigger", "deb", "power"], "trigger", {"domid": 3, "name": "power", "vcpu": 0}),
        (["trigger", "deb", "nmi", "2"], "trigger", {"domid": 3, "name": "nmi", "vcpu": 2}),
        (
            ["vcpu-pin", "deb", "all", "0-1,^0", "-"],
            "pin_vcpu",
            {"domid": 3, "vcpu": None, "hard": "0-1,^0", "soft": None},
        ),
        (
            ["vcpu-pin", "-f", "deb", "2", "-", "all"],
            "pin_vcpu",
            {"domid": 3, "vcpu": 2, "hard": None, "soft": "all"},
        ),
        (
            ["vcpu-pin", "deb", "2", "1"],
            "pin_vcpu",
            {"domid": 3, "vcpu": 2, "hard": "1", "soft": None},
        ),
        (["sysrq", "deb", "s"], "sysrq", {"domid": 3, "letter": "s"}),
        (["dump-core", "deb", "/tmp/x"], "dump_core", {"domid": 3, "path": "/tmp/x"}),
        (["shutdown", "deb"], "shutdown", {"domid": 3}),
        (["reboot", "deb"], "reboot", {"domid": 3}),
    ],
)
def test_verbs_that_make_one_call(
    daemon: ScriptedDaemon, arguments: list[str], method: str, params: dict[str, Any]
) -> None:
    daemon.answers[method] = nothing
    assert main(arguments) == 0
    assert daemon.called("resolve") == [(method, params)]


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [(["debug-keys", "hq"], "hq"), (["debug-keys", "h", "q"], "hq"), (["debug", "R"], "R")],
)
def test_debug_keys(daemon: ScriptedDaemon, arguments: list[str], keys: str) -> None:
    daemon.answers["debug_keys"] = nothing
    assert main(arguments) == 0
    assert daemon.calls == [("debug_keys", {"keys": keys})]


def test_a_trigger_that_is_no_button_says_what_it_does(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers["trigger"] = lambda domid, name, vcpu: f"{name} was asked for"
    assert main(["trigger", "deb", "power"]) == 0
    assert capsys.readouterr().err == "power was asked for\n"


def test_domain_0_is_not_destroyed(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["destroy", "Domain-0"]) == 1
    assert "this host" in capsys.readouterr().err
    assert daemon.called("resolve") == []


def test_shutdown_of_all_waits_for_each(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers["shutdown"] = nothing
    daemon.answers["wait"] = lambda domid: (domid, 0 if domid == 3 else None, None, False)
    assert main(["shutdown", "-aw"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "Shutting down domain 3",
        "Shutting down domain 12",
        "Waiting for 2 domains",
        "Domain 3 has been shut down, reason code 0",
        "Domain 12 has been destroyed",
    ]


def test_a_guest_that_cannot_be_asked_keeps_no_other_from_it(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(domid: int) -> None:
        if domid == 3:
            raise RefusalError("Domain 3 has ended")

    daemon.answers["shutdown"] = daemon.answers["reboot"] = refuse
    daemon.answers["wait"] = lambda domid: (domid, 0, None, False)
    for verb, announcement in (("shutdown", "Shutting down"), ("reboot", "Rebooting")):
        assert main([verb, "-aw"]) == 1
        assert capsys.readouterr().err.splitlines() == [
            f"{announcement} domain 3",
            "Error: Domain 3 has ended",
            f"{announcement} domain 12",
            "Waiting for 1 domains",
            "Domain 12 has been shut down, reason code 0",
        ]


def test_shutdown_falls_back_to_the_button(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(domid: int) -> None:
        raise RefusalError("The guest has no PV drivers")

    daemon.answers["shutdown"] = daemon.answers["reboot"] = refuse
    daemon.answers["trigger"] = nothing
    assert main(["shutdown", "deb"]) == 1
    assert capsys.readouterr().err.endswith("Error: The guest has no PV drivers\n")
    assert main(["shutdown", "-F", "deb"]) == 0
    assert main(["reboot", "-F", "deb"]) == 0
    pressed = [params["name"] for method, params in daemon.calls if method == "trigger"]
    assert pressed == ["power", "reset"]


def test_names_and_numbers(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["domid", "deb"]) == 0
    assert main(["domname", "12"]) == 0
    assert main(["domname", "0"]) == 0
    assert capsys.readouterr().out == "3\nold\nDomain-0\n"
    assert main(["domid", "3"]) == 1
    assert main(["domname", "4"]) == 1
    assert capsys.readouterr().err == (
        "Error: there is no domain named '3'\nError: there is no domain with ID 4\n"
    )


def test_vcpu_list(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def vcpus(domid: int) -> list[VcpuInfo]:
        return [VcpuInfo(domid, 0, 1, True, True, False, 10**9, "all", "all")]

    daemon.answers["vcpus"] = vcpus
    assert main(["vcpu-list", "deb"]) == 0
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["deb", "3", "0", "1", "r--", "1.0", "all", "/", "all"]
    assert main(["vcpu-list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["cpu"]) for row in rows] == [("Domain-0", 1), ("deb", 1), ("old", 1)]


def test_info(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    info = {"host": "h", "total_memory": "4096", "xen_major": "4"}
    daemon.answers["info"] = lambda: info
    assert main(["info"]) == 0
    assert capsys.readouterr().out == (
        "host                   : h\ntotal_memory           : 4096\nxen_major              : 4\n"
    )
    assert main(["info", "total_memory"]) == 0
    assert capsys.readouterr().out == "4096\n"
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == info
    assert main(["info", "-n"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "host                   : h"
    assert lines[2:4] == ["cpu_topology           :", "cpu:    core    socket     node"]
    assert lines[-1] == "xen_major              : 4"
    assert main(["info", "--json", "xen"]) == 0
    assert json.loads(capsys.readouterr().out) == {"xen_major": "4"}


def test_uptime(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["uptime", "deb"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["Name", "ID", "Uptime"]
    assert re.fullmatch(r"deb                                  3  1:0\d:\d\d", row)
    assert main(["uptime", "-s", "3"]) == 0
    assert re.search(r" up  1:0\d, deb \(3\)\n", capsys.readouterr().out)


def test_dmesg(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["dmesg"] = lambda: "(XEN) one\n"
    daemon.answers["clear_dmesg"] = lambda: "(XEN) two\n"
    assert main(["dmesg"]) == 0
    assert main(["dmesg", "--clear"]) == 0
    assert capsys.readouterr().out == "(XEN) one\n(XEN) two\n"


def test_vm_list(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vm-list"]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == [
        "name",
        "deb",
        "old",
    ]


@pytest.mark.parametrize(
    ("text", "kib"),
    [
        ("512", 524288),
        ("512m", 524288),
        ("512M", 524288),
        ("4096b", 4),
        ("1023b", 0),
        ("7k", 7),
        ("2g", 2097152),
        ("1T", 1 << 30),
    ],
)
def test_memory_sizes(text: str, kib: int) -> None:
    assert memory_kib(text) == kib


@pytest.mark.parametrize("text", ["", "m", "-1", "1.5g", "512mb", "0x10", " 1", "9" * 40])
def test_memory_sizes_refused(text: str) -> None:
    with pytest.raises(CommandError):
        memory_kib(text)


def test_a_reader_that_goes_away_is_no_traceback(daemon: ScriptedDaemon) -> None:
    command = f"{sys.executable} -m xenolith.cli.xl list | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_output_that_cannot_be_written_is_one_sentence(daemon: ScriptedDaemon) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "xenolith.cli.xl", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "Error: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_it_needs_no_standard_streams(closed: str, daemon: ScriptedDaemon) -> None:
    command = f"{sys.executable} -m xenolith.cli.xl list {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("\n") == (0 if ">&-" in closed.replace("2>", "") else 4)
    assert [method for method, _ in daemon.calls] == ["list"]


def test_verbs_are_either_there_or_absent() -> None:
    assert not set(verbs.ABSENT) & set(verbs.VERBS)
