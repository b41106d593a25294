"""sched-credit and the verbs of CPU pools: what they print, to the character, and what they ask the daemon for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_daemon import RefusalError, ScriptedDaemon

from xenolith.cli.xl import main
from xenolith.toolstack.records import CpuPoolInfo, CreditInfo, VcpuInfo

CREDITS = [
    CreditInfo(0, "Domain-0", 256, 0, "Pool-0"),
    CreditInfo(3, "deb", 512, 50, "Pool-0"),
    CreditInfo(12, "web", 65535, 200, "fast"),
]
POOLS = [
    CpuPoolInfo(0, "Pool-0", "credit", [0, 1, 2, 5], 2, 5, 500, 0),
    CpuPoolInfo(1, "fast", "credit", [3], 1, 30, 1000, 100),
]


def resolve(domain: str) -> int:
    for known in CREDITS:
        if domain in (known.name, str(known.domid)):
            return known.domid
    raise RefusalError(f"There is no domain {domain}")


def cpupool(pool: str) -> CpuPoolInfo:
    for known in POOLS:
        if pool in (known.name, str(known.poolid)):
            return known
    raise RefusalError(f"There is no CPU pool {pool}")


def nothing(**_params: Any) -> None:
    """An answer that says only that it was done."""


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    monkeypatch.setenv("XENOLITH_RUN_DIR", str(tmp_path))
    names = (
        "set_credit set_cpupool_parameters destroy_cpupool rename_cpupool add_cpus_to_cpupool "
        "remove_cpus_from_cpupool migrate_to_cpupool split_cpupools_by_node set_vcpus"
    )
    daemon = ScriptedDaemon(
        {
            "resolve": resolve,
            "credits": lambda: CREDITS,
            "cpupools": lambda: POOLS,
            "cpupool": cpupool,
            **dict.fromkeys(names.split(), nothing),
        }
    )
    yield daemon
    daemon.close()


@pytest.mark.usefixtures("daemon")
def test_sched_credit_lists_pools_and_domains(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sched-credit"]) == 0
    assert capsys.readouterr().out == (
        "Cpupool Pool-0: tslice=5ms ratelimit=500us migration-delay=0us\n"
        "Name                                ID Weight  Cap\n"
        "Domain-0                             0    256    0\n"
        "deb                                  3    512   50\n"
        "Cpupool fast: tslice=30ms ratelimit=1000us migration-delay=100us\n"
        "Name                                ID Weight  Cap\n"
        "web                                 12  65535  200\n"
    )


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (
            ["-d", "deb"],
            "Name                                ID Weight  Cap\n"
            "deb                                  3    512   50\n",
        ),
        (["-s"], "Cpupool Pool-0: tslice=5ms ratelimit=500us migration-delay=0us\n"),
        (
            ["-s", "-p", "fast"],
            "Cpupool fast: tslice=30ms ratelimit=1000us migration-delay=100us\n",
        ),
        (
            ["-p", "1"],
            "Cpupool fast: tslice=30ms ratelimit=1000us migration-delay=100us\n"
            "Name                                ID Weight  Cap\n"
            "web                                 12  65535  200\n",
        ),
    ],
)
def test_sched_credit_lists_a_part(
    arguments: list[str], printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sched-credit", *arguments]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (
            ["sched-credit", "-d", "deb", "-w", "128"],
            ("set_credit", {"domid": 3, "weight": 128, "cap": None}),
        ),
        (
            ["sched-credit", "--domain=deb", "--cap=50", "--weight=1"],
            ("set_credit", {"domid": 3, "weight": 1, "cap": 50}),
        ),
        (
            ["sched-credit", "-s", "-t", "10", "-r", "100"],
            (
                "set_cpupool_parameters",
                {"pool": "0", "tslice": 10, "ratelimit": 100, "migration_delay": None},
            ),
        ),
        (
            ["sched-credit", "-s", "-m", "0", "-p", "fast"],
            (
                "set_cpupool_parameters",
                {"pool": "fast", "tslice": None, "ratelimit": None, "migration_delay": 0},
            ),
        ),
        (["cpupool-destroy", "fast"], ("destroy_cpupool", {"pool": "fast"})),
        (["cpupool-rename", "1", "new"], ("rename_cpupool", {"pool": "1", "name": "new"})),
        (
            ["cpupool-cpu-add", "fast", "node:0"],
            ("add_cpus_to_cpupool", {"pool": "fast", "cpus": "node:0"}),
        ),
        (
            ["cpupool-cpu-remove", "fast", "3"],
            ("remove_cpus_from_cpupool", {"pool": "fast", "cpus": "3"}),
        ),
        (
            ["cpupool-migrate", "deb", "fast"],
            ("migrate_to_cpupool", {"domid": 3, "pool": "fast"}),
        ),
        (["cpupool-numa-split"], ("split_cpupools_by_node", {})),
        (["vcpu-set", "-i", "deb", "8"], ("set_vcpus", {"domid": 3, "count": 8})),
    ],
)
def test_what_is_asked_of_the_daemon(
    daemon: ScriptedDaemon,
    arguments: list[str],
    call: tuple[str, dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments) == 0
    assert daemon.called("resolve") == [call]
    assert capsys.readouterr() == ("", "")


def test_a_migration_delay_is_kept_and_said_to_have_no_effect(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sched-credit", "-s", "-m", "1000"]) == 0
    parameters = {"pool": "0", "tslice": None, "ratelimit": None, "migration_delay": 1000}
    assert daemon.called() == [("set_cpupool_parameters", parameters)]
    output, words = capsys.readouterr()
    assert output == ""
    assert words.startswith("The migration delay is kept, but has no effect: ")
    assert words.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sched-credit", "-w", "1"], "Error: Must specify a domain\n"),
        (
            ["sched-credit", "-d", "deb", "-s"],
            "Error: Specifying a cpupool or schedparam is not allowed with domain options\n",
        ),
        (
            ["sched-credit", "-t", "1"],
            "Error: Must specify schedparam to set schedule parameter values\n",
        ),
        (
            ["sched-credit", "-d", "deb", "-w", "much"],
            "Error: 'much', given with -w, is not a number\n",
        ),
        (["sched-credit", "-d", "nobody"], "Error: There is no domain nobody\n"),
        (["sched-credit", "-p", "nowhere"], "Error: There is no CPU pool nowhere\n"),
        (
            ["sched-credit2", "-d", "deb", "-w", "1"],
            "Error: The scheduler credit2 is not in use: all pools have credit\n",
        ),
        (
            ["sched-credit2", "-s"],
            "Error: The scheduler credit2 is not in use: all pools have credit\n",
        ),
        (["sched-rtds", "-d", "nobody"], "Error: There is no domain nobody\n"),
        (
            ["sched-rtds", "-d", "deb"],
            "Error: The scheduler rtds is not in use: all pools have credit\n",
        ),
        (["sched-rtds", "-c", "nowhere"], "Error: There is no CPU pool nowhere\n"),
        (["vcpu-set", "deb", "x"], "Error: 'x' is not a number of vCPUs\n"),
    ],
)
def test_mistakes_change_nothing(
    daemon: ScriptedDaemon,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments) == 1
    assert capsys.readouterr() == ("", message)
    assert daemon.called("resolve", "credits", "cpupools", "cpupool") == []


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(
    "arguments", [["sched-credit2"], ["sched-rtds"], ["sched-rtds", "-c", "1"]]
)
def test_lists_of_other_schedulers_are_empty(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (
            [],
            "Name               CPUs   Sched     Active   Domain count\n"
            "Pool-0               4    credit       y          2\n"
            "fast                 1    credit       y          1\n",
        ),
        (
            ["fast"],
            "Name               CPUs   Sched     Active   Domain count\n"
            "fast                 1    credit       y          1\n",
        ),
        (
            ["-c"],
            "Name               CPU list\nPool-0             0,1,2,5\nfast               3\n",
        ),
    ],
)
def test_cpupool_list(
    arguments: list[str], printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cpupool-list", *arguments]) == 0
    assert capsys.readouterr().out == printed


def test_cpupool_create(
    daemon: ScriptedDaemon,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    daemon.answers["load_cpupool"] = lambda **_source: POOLS[1]
    daemon.answers["create_cpupool"] = lambda **_source: POOLS[1]
    summary = "cpupool name:   fast\nscheduler:      credit\nnumber of cpus: 1\n"
    assert main(["cpupool-create", 'name="fast"', "cpus=[3]"]) == 0
    assert capsys.readouterr().out == f'Using config file "command line"\n{summary}'
    asked = {
        "text": "",
        "name": "command line",
        "overrides": ['name="fast"', "cpus=[3]"],
        "directories": [],
    }
    assert daemon.calls == [("load_cpupool", asked), ("create_cpupool", asked)]
    daemon.calls.clear()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast.cfg").write_text("cpus=[3]")
    for arguments in (["-n", "fast.cfg"], ["-nf", "fast.cfg"]):
        assert main(["cpupool-create", *arguments]) == 0
        assert capsys.readouterr().out == f'Using config file "fast.cfg"\n{summary}'
    assert [method for method, _ in daemon.calls] == ["load_cpupool", "load_cpupool"]
    assert daemon.calls[0][1]["text"] == "cpus=[3]"
    assert main(["cpupool-create", "missing.cfg"]) == 1
    assert "missing.cfg: the configuration cannot be read" in capsys.readouterr().err
    assert main(["cpupool-create", "a", "b"]) == 2


def test_more_vcpus_than_cpus_must_be_meant(
    daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    online = VcpuInfo(3, 0, 0, True, True, False, 0, "all", "all")
    daemon.answers["vcpus"] = lambda domid: [online] * 4
    for count in (1, 2, 4):
        assert main(["vcpu-set", "deb", str(count)]) == 0
    assert main(["vcpu-set", "deb", "5"]) == 1
    assert capsys.readouterr().err == (
        "Error: 5 vCPUs are more than the host's 2 CPUs; use -i (--ignore-host) if that is meant\n"
    )
    assert main(["vcpu-set", "--ignore-host", "deb", "5"]) == 0
    assert [params["count"] for method, params in daemon.calls if method == "set_vcpus"] == [
        1, 2, 4, 5,
    ]  # fmt: skip
