"""The tables of xl, to the character."""

from __future__ import annotations

from scripted_daemon import domain

from xenolith.cli import tables
from xenolith.toolstack.records import VcpuInfo


def test_the_header_and_rows_of_xl_list() -> None:
    assert tables.DOMAIN_HEADER == (
        "Name                                        ID   Mem VCPUs\tState\tTime(s)"
    )
    row = tables.domain_row(
        domain(0, "Domain-0", running=True, blocked=False, memory_kib=4194303, vcpus=8)
    )
    assert row == "Domain-0                                     0  4095     8     r-----       0.0"
    row = tables.domain_row(
        domain(12345, "n" * 45, memory_kib=123456789 * 1024, vcpus=128, cpu_time_ns=98765432100)
    )
    assert row == f"{'n' * 45} 12345 123456789   128     -b----      98.8"
    assert len(tables.domain_row(domain(1, "x")).split()) == 6


def test_the_letters_of_the_state() -> None:
    idle = domain(1, "d", blocked=False)
    assert tables.domain_state(idle) == "------"
    assert tables.domain_state(idle._replace(running=True)) == "r-----"
    assert tables.domain_state(idle._replace(blocked=True, paused=True)) == "-bp---"
    assert tables.domain_state(idle._replace(dying=True)) == "-----d"
    ended = idle._replace(shutdown=True)
    letters = [tables.domain_state(ended._replace(shutdown_reason=reason)) for reason in range(6)]
    assert letters == ["---s--", "---sr-", "---ss-", "---sc-", "---sw-", "---sS-"]
    assert tables.domain_state(ended._replace(shutdown_reason=99)) == "---s?-"
    # A reason that is left over from an earlier shutdown is not shown.
    assert tables.domain_state(idle._replace(shutdown_reason=3)) == "------"


def test_additional_columns_of_xl_list() -> None:
    running = domain(1, "d")
    assert tables.verbose_columns(running) == (
        " 00000000-0000-0000-0000-000000000001        -                -"
    )
    crashed = running._replace(shutdown=True, shutdown_reason=3)
    assert tables.verbose_columns(crashed) == (
        " 00000000-0000-0000-0000-000000000001        3                -"
    )
    assert tables.cpupool_column(running) == "          Pool-0"


def test_xl_vcpu_list() -> None:
    assert tables.VCPU_HEADER == (
        "Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)"
    )
    vcpu = VcpuInfo(
        domid=3,
        vcpu=1,
        cpu=7,
        online=True,
        running=True,
        blocked=False,
        cpu_time_ns=12_340_000_000,
        hard_affinity="0-3",
        soft_affinity="all",
    )
    name = "d" + " " * 31
    assert tables.vcpu_row("d", vcpu) == f"{name}     3     1    7   r--      12.3  0-3 / all"
    blocked = vcpu._replace(running=False, blocked=True, cpu=None)
    assert tables.vcpu_row("d", blocked) == f"{name}     3     1    -   -b-      12.3  0-3 / all"
    offline = vcpu._replace(online=False)
    assert tables.vcpu_row("d", offline) == f"{name}     3     1    -   --p      12.3  0-3 / all"


def test_xl_info() -> None:
    info = {"host": "h", "xen_caps": "xen-3.0-x86_64 hvm-3.0-x86_64", "xen_major": "4"}
    assert tables.info_lines(info) == [
        "host                   : h",
        "xen_caps               : xen-3.0-x86_64 hvm-3.0-x86_64",
        "xen_major              : 4",
    ]
    assert tables.info_values(info, "xen_ca") == ["xen-3.0-x86_64 hvm-3.0-x86_64"]
    assert tables.info_values(info, "xen_") == ["xen-3.0-x86_64 hvm-3.0-x86_64", "4"]
    assert tables.info_values(info, "nothing") == []


def test_xl_uptime() -> None:
    day = 86400
    assert tables.uptime(98 * day + 2 * 3600 + 27 * 60 + 44) == "98 days,  2:27:44"
    assert tables.uptime(day + 1) == "1 day,  0:00:01"
    assert tables.uptime(12 * 3600 + 59) == "12:00:59"
    assert tables.UPTIME_HEADER == "Name                                ID Uptime"
    old = domain(7, "d", start_time=1000.0)
    assert tables.uptime_row(old, 1090.9) == "d                                    7  0:01:30"
    assert tables.uptime_row(old, 900.0) == "d                                    7  0:00:00"
    short = tables.short_uptime_row(old, 1000.0 + day + 3600, "12:34:56")
    assert short == " 12:34:56 up 1 day,  1:00, d (7)"


def test_xl_vm_list() -> None:
    assert tables.VM_HEADER == "UUID                                  ID    name"
    assert tables.vm_row(domain(2, "d")) == (
        "00000000-0000-0000-0000-000000000002  2    d                             "
    )
