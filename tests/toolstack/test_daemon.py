"""xl's view of the toolstack: real daemon, zygote and domain processes, and a fake machine."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from builder.images import PACKERS, bzimage
from xenolith.abi.sched import ShutdownReason
from xenolith.toolstack import paths, rpc
from xenolith.toolstack.client import ToolstackError
from xenolith.toolstack.daemon.lifecycle import MIN_LIFE_S
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.tools.client import Client

from .host import Host, eventually, read_to_end, read_until


def test_a_domain_is_created_listed_and_destroyed(host: Host) -> None:
    with host.connect() as toolstack:
        config = host.config("web", "hello", memory=64, maxmem=128, vcpus=2, maxvcpus=3)
        domid = toolstack.create(config)
        assert domid == 1
        dom0, web = toolstack.list()
        assert (dom0.domid, dom0.name) == (0, "Domain-0")
        assert (web.name, web.uuid) == ("web", config["uuid"])
        assert (web.memory_kib, web.max_memory_kib) == (65536, 131072)
        assert (web.vcpus, web.max_vcpus, web.blocked, web.paused) == (2, 3, True, False)
        assert time.time() - 60 < web.start_time <= time.time()
        assert 0 < web.cpu_time_ns < 10_000_000_000
        assert toolstack.config(domid) == config
        vcpus = toolstack.vcpus(domid)
        assert [vcpu.online for vcpu in vcpus] == [True, True, False]
        assert [vcpu.cpu_time_ns for vcpu in vcpus] == [1_000_000, 2_000_000, 0]
        toolstack.destroy(domid)
        assert [domain.name for domain in toolstack.list()] == ["Domain-0"]
        assert os.listdir(host.run_dir / "domains") == ["last-domid"]


@pytest.mark.parametrize("delay", [0, 0.005, 0.02, 0.1, 0.3])
def test_a_domain_whose_creator_vanishes_while_it_is_built_is_dropped(
    host: Host, delay: float
) -> None:
    with host.connect() as toolstack:
        quick = toolstack.create(host.config("quick"))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(paths.daemon_socket())
            params = {"config": host.config("web", "slow"), "paused": False}
            client.sendall(rpc.encode(rpc.request(1, "create", params), 0))
            time.sleep(delay)
        last_domid = host.run_dir / "domains" / "last-domid"
        eventually(lambda: int(last_domid.read_text()) > quick)
        eventually(lambda: [domain.domid for domain in toolstack.list()] == [0, quick])
        eventually(lambda: "xen-web" not in host.processes().values(), host.processes)
        left = {name.partition(".")[0] for name in os.listdir(host.run_dir / "domains")}
        assert left == {str(quick), "last-domid"}
        with contextlib.closing(Client.connect(toolstack.info()["xenstored_socket"])) as store:
            assert set(store.directory("/local/domain")) == {"0", str(quick)}


def test_a_domain_that_is_being_built_is_paused(host: Host) -> None:
    with host.connect() as toolstack, socket.socket(socket.AF_UNIX) as client:
        client.connect(paths.daemon_socket())
        params = {"config": host.config("web", "slow"), "paused": False}
        client.sendall(rpc.encode(rpc.request(1, "create", params), 0))
        eventually(lambda: len(toolstack.list()) == 2)
        for _ in range(3):
            web = toolstack.list()[1]
            assert (web.paused, web.blocked, web.running) == (True, False, False)
            time.sleep(0.1)


def test_the_console_shows_all_from_the_start_and_takes_typing(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", "hello"))
        for _ in range(2):
            with toolstack.console(domid) as console:
                assert b"web booted: hello\n" in read_until(console, b"xenstore: web\n")
                console.sendall(b"more than the guest has room for at once\nprint 3\n")
                assert b"print 3\nxxx\n" in read_until(console, b"xxx\n")
    log = host.state_dir / "logs" / "guest-web.log"
    assert log.read_bytes().startswith(b"web booted: hello\n")


def test_a_console_ends_with_the_domain_and_every_byte(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"), paused=True)
        assert toolstack.list()[1].paused
        with toolstack.console(domid) as console:
            toolstack.unpause(domid)
            console.sendall(b"print 1000000\npoweroff\n")
            assert read_to_end(console).count(b"x") >= 1_000_000
        assert toolstack.wait(domid).reason == ShutdownReason.poweroff


def test_a_console_that_comes_a_little_late_shows_every_byte(host: Host) -> None:
    with host.connect() as toolstack:
        for word in ("poweroff", "crash"):
            domid = toolstack.create(host.config("web", word))
            assert toolstack.wait(domid).reason is not None
            for name in ("web", str(domid)):
                with toolstack.console_of(name) as console:
                    seen = read_to_end(console)
            assert seen.startswith(b"web booted: " + word.encode())
            assert seen.count(b"booted") == 1
        with pytest.raises(ToolstackError, match="There is no domain mail"):
            toolstack.console_of("mail")
        toolstack.destroy(toolstack.create(host.config("web")))
        domid = toolstack.create(host.config("last"))
        toolstack.destroy(domid)
        with pytest.raises(ToolstackError, match="There is no domain last"):
            toolstack.console_of("last")


def test_a_console_may_come_at_any_moment_of_the_end(host: Host) -> None:
    with host.connect() as toolstack, host.connect() as other:
        for _ in range(30):
            domid = toolstack.create(host.config("web", "poweroff"), paused=True)
            thread = threading.Thread(target=lambda domid=domid: other.unpause(domid))
            thread.start()
            with toolstack.console_of("web") as console:
                assert read_to_end(console).startswith(b"web booted: poweroff\n")
            thread.join()
            toolstack.wait(domid)


def test_a_paused_domain_stands_still_however_often_it_was_paused(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        toolstack.pause(domid)
        toolstack.pause(domid)
        assert toolstack.list()[1].paused
        with toolstack.console(domid) as console:
            console.sendall(b"print 3\n")
            read_until(console, b"booted")
            with pytest.raises(TimeoutError):
                read_until(console, b"print", 0.2)
            toolstack.unpause(domid)
            assert not toolstack.list()[1].paused
            read_until(console, b"xxx\n")
        toolstack.unpause(domid)


def test_shutdown_and_reboot_go_through_xenstore(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        toolstack.reboot(domid)
        end = toolstack.wait(domid)
        assert (end.reason, end.successor) == (ShutdownReason.reboot, domid + 1)
        eventually(lambda: toolstack.list()[1].blocked)
        toolstack.shutdown(domid + 1)
        end = toolstack.wait(domid + 1)
        assert (end.reason, end.successor) == (ShutdownReason.poweroff, None)
        assert len(toolstack.list()) == 1


def test_xenstore_holds_what_libxl_puts_there(host: Host) -> None:
    with host.connect() as toolstack:
        config = host.config("web", memory=64, maxmem=128, vcpus=1, maxvcpus=2)
        domid = toolstack.create(config)
        with contextlib.closing(Client.connect(toolstack.info()["xenstored_socket"])) as store:
            home, machine = f"/local/domain/{domid}", f"/vm/{config['uuid']}"
            values = {
                f"{home}/vm": machine,
                f"{home}/name": "web",
                f"{home}/domid": str(domid),
                f"{home}/memory/target": "65536",
                f"{home}/memory/static-max": "131072",
                f"{home}/cpu/0/availability": "online",
                f"{home}/cpu/1/availability": "offline",
                f"{home}/store/port": "1",
                f"{home}/store/ring-ref": str(0xFEFFC),
                f"{home}/console/port": "2",
                f"{home}/console/type": "xenconsoled",
                f"{machine}/uuid": config["uuid"],
                f"{machine}/name": "web",
                f"/libxl/{domid}/type": "pvh",
            }
            assert {path: store.read(path).decode() for path in values} == values
            for writable in ("control/shutdown", "data", "device/suspend/event-channel"):
                assert store.get_permissions(f"{home}/{writable}") == [f"n{domid}"]
            toolstack.destroy(domid)
            for path in (home, machine, f"/libxl/{domid}"):
                with pytest.raises(XenstoreError, match="ENOENT"):
                    store.read(path)
            assert store.directory("/local/domain/0/backend/console") == []


def test_xenstore_knows_the_host_before_any_domain(host: Host) -> None:
    with (
        host.connect() as toolstack,
        contextlib.closing(Client.connect(toolstack.info()["xenstored_socket"])) as store,
    ):
        assert store.read("/local/domain/0/name") == b"Domain-0"
        assert store.read("/local/domain/0/domid") == b"0"


def test_a_renamed_domain_is_found_by_its_new_name(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        toolstack.create(host.config("mail"))
        toolstack.rename(domid, "www")
        assert toolstack.resolve("www") == domid
        with pytest.raises(ToolstackError, match="no domain web"):
            toolstack.resolve("web")
        with pytest.raises(ToolstackError, match="mail exists already"):
            toolstack.rename(domid, "mail")
        with toolstack.console(domid) as console:
            console.sendall(b"read name\n")
            read_until(console, b"xenstore: www\n")


@pytest.mark.parametrize("name", ["", "55", "two words", "a/b", "..", "a\x01", "n" * 201])
def test_a_domain_gets_no_name_that_it_could_not_be_created_with(host: Host, name: str) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        with pytest.raises(ToolstackError, match="This cannot be the name of a domain: "):
            toolstack.rename(domid, name)
        assert toolstack.resolve("web") == domid


def test_a_rename_that_cannot_be_recorded_changes_nothing(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        in_the_way = host.run_dir / f"domains/{domid}.json.new"
        in_the_way.mkdir()
        with pytest.raises(ToolstackError, match="rename failed"):
            toolstack.rename(domid, "www")
        in_the_way.rmdir()
        in_the_way.symlink_to("/dev/full")
        with pytest.raises(ToolstackError, match=f"{in_the_way}: No space left on device"):
            toolstack.rename(domid, "www")
        in_the_way.unlink()
        assert toolstack.resolve("web") == domid
        toolstack.rename(domid, "www")


def test_memory_is_set_within_its_limit(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", memory=64, maxmem=128))
        toolstack.set_memory_target(domid, 100 << 10)
        with toolstack.console(domid) as console:
            console.sendall(b"read memory/target\n")
            read_until(console, b"xenstore: 102400\n")
        with pytest.raises(ToolstackError, match="may have 128 MiB at most"):
            toolstack.set_memory_target(domid, 129 << 10)
        toolstack.set_max_memory(domid, 256 << 10)
        toolstack.set_memory_target(domid, 129 << 10)


def test_triggers_and_sysrq_reach_the_guest(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        toolstack.trigger(domid, "nmi", 1)
        toolstack.sysrq(domid, "h")
        with toolstack.console(domid) as console:
            console.sendall(b"read control/sysrq\n")
            seen = read_until(console, b"xenstore: h\n")
        assert b"NMI on 1\n" in seen
        with pytest.raises(ToolstackError, match="knows no sleep"):
            toolstack.trigger(domid, "sleep")
        told = toolstack.trigger(domid, "power")
        assert told is not None
        assert "no ACPI power button" in told
        assert toolstack.wait(domid).reason == ShutdownReason.poweroff


def test_debug_keys_answer_in_the_log(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", vcpus=2, maxvcpus=2), paused=True)
        toolstack.clear_dmesg()
        toolstack.debug_keys("h?")
        text = toolstack.clear_dmesg()
        assert "(XEN) 'h' pressed -> show installed handlers\n" in text
        assert "(XEN)  key 'q' (ascii '71') => dump domain (and guest debug) info\n" in text
        toolstack.debug_keys("qm")
        text = toolstack.clear_dmesg()
        assert f"(XEN) General information for domain {domid}:\n(XEN)     name=web " in text
        assert "VCPU1: blocked, has run " in text
        assert "total_memory=" in text
        with pytest.raises(ToolstackError, match="reboot the machine"):
            toolstack.debug_keys("qR")
        assert toolstack.dmesg() == ""


def test_strace_shows_hypercalls_while_somebody_watches(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        with toolstack.strace(domid) as trace, toolstack.console(domid) as console:
            console.sendall(b"look\n")
            assert read_until(trace, b"\n") == b"obey('look') = 0\n"
        with toolstack.console(domid) as console:
            console.sendall(b"print 2\n")
            read_until(console, b"xx\n")


def test_dmesg_has_what_the_hypervisor_says_of_domains(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        with toolstack.console(domid) as console:
            console.sendall(b"log something odd\n" + b"log flood\n" * 100)
            eventually(lambda: f"(d{domid}) something odd\n" in toolstack.dmesg())
        assert toolstack.dmesg().count("flood") < 50
        assert "something odd" in toolstack.clear_dmesg()
        assert "something odd" not in toolstack.dmesg()


def test_a_core_dump_holds_the_guests_memory(host: Host, tmp_path: Path) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", memory=64))
        path = tmp_path / "web.core"
        toolstack.dump_core(domid, str(path))
        core = path.read_bytes()
        assert core.startswith(b"\x7fELF")
        assert b"memory of web" in core
        absent = tmp_path / "absent" / "web.core"
        with pytest.raises(ToolstackError) as refusal:
            toolstack.dump_core(domid, str(absent))
        assert str(refusal.value) == f"dump-core failed: {absent}: No such file or directory"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "web"}, "web exists already, with domid 1"),
        ({"name": "a/b"}, "cannot be the name of a domain: 'a/b' holds a space, a slash"),
        ({"name": "Domain-0"}, "the host itself"),
        (
            {"kernel": "/nowhere/vmlinuz"},
            "cannot be created: /nowhere/vmlinuz: No such file or directory",
        ),
        ({"ramdisk": "/dev/zero"}, "/dev/zero is not a regular file"),
        ({"type": "hvm"}, 'Domain other cannot be created: type="hvm" is not supported yet'),
        ({"cmdline": "unbuildable"}, "cannot be created: the kernel is not a kernel"),
    ],
)
def test_what_cannot_be_created_says_why_and_leaves_nothing(
    host: Host, changes: dict[str, str], sentence: str
) -> None:
    with host.connect() as toolstack:
        toolstack.create(host.config("web"))
        with pytest.raises(ToolstackError, match=sentence):
            toolstack.create({**host.config("other"), **changes})
        assert [domain.name for domain in toolstack.list()] == ["Domain-0", "web"]
        eventually(lambda: len(host.processes()) == 3, host.processes)
        for name in os.listdir(host.run_dir / "domains"):
            assert name.startswith("1.") or name == "last-domid"


def test_a_full_disk_behind_the_log_changes_nothing_else(host: Host) -> None:
    logs = host.state_dir / "logs"
    logs.mkdir(parents=True)
    (logs / "xl-web.log").symlink_to("/dev/full")
    with host.connect() as toolstack:
        with pytest.raises(ToolstackError, match="the kernel is not a kernel"):
            toolstack.create(host.config("web", "unbuildable"))
        domid = toolstack.create(host.config("web", on_crash="preserve"))
        with toolstack.console(domid) as console:
            console.sendall(b"bug\n")
            assert toolstack.wait(domid) == (domid, ShutdownReason.crash, None, True)


def test_a_configuration_that_is_none_is_refused(host: Host) -> None:
    with host.connect() as toolstack, pytest.raises(ToolstackError, match="config"):
        toolstack.create({"name": 5})


@pytest.mark.parametrize("verb", ["pause", "unpause", "destroy", "shutdown", "console", "wait"])
def test_a_domain_that_does_not_exist_is_an_error(host: Host, verb: str) -> None:
    with host.connect() as toolstack:
        with pytest.raises(ToolstackError, match="Domain 99 does not exist"):
            getattr(toolstack, verb)(99)
        with pytest.raises(ToolstackError, match="the host itself"):
            getattr(toolstack, verb)(0)


def test_the_guest_gets_its_kernel_but_can_open_no_file(host: Host, tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(b"\x7fELF and so on")
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", "open", kernel=str(kernel)))
        with toolstack.console(domid) as console:
            seen = read_until(console, b"open: Operation not permitted\n")
        assert b"kernel: \x7fELF\n" in seen


def test_a_packed_kernel_is_unpacked_once(host: Host, tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(bzimage(PACKERS["gzip"](b"\x7fELF and so on")))
    entries = tmp_path / "cache" / "kernels"
    with host.connect() as toolstack:
        for name in ("first", "second"):
            domid = toolstack.create(host.config(name, kernel=str(kernel)))
            with toolstack.console(domid) as console:
                read_until(console, b"kernel: \x7fELF\n")
            (entry,) = entries.glob("[0-9a-f]*-*")
            assert entry.read_bytes() == b"\x7fELF and so on"


def test_a_damaged_kernel_is_refused_and_not_kept(host: Host, tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(bzimage(PACKERS["gzip"](bytes(1 << 20)))[:-600])
    with host.connect() as toolstack:
        with pytest.raises(ToolstackError, match=f"{kernel} is (truncated|damaged)"):
            toolstack.create(host.config("web", kernel=str(kernel)))
        assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_domids_rise_and_are_not_used_again_soon(host: Host) -> None:
    with host.connect() as toolstack:
        first = toolstack.create(host.config("web"))
        toolstack.destroy(first)
        second = toolstack.create(host.config("web"))
        assert (first, second) == (1, 2)


def test_many_domains_are_created_at_once(host: Host) -> None:
    domids: list[int] = []

    def create(number: int) -> None:
        with host.connect() as toolstack:
            domids.append(toolstack.create(host.config(f"guest{number}")))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(domids) == list(range(1, 33))
    with host.connect() as toolstack:
        domains = toolstack.list()[1:]
        assert {domain.name for domain in domains} == {f"guest{number}" for number in range(32)}
        for domain in domains:
            with toolstack.console(domain.domid) as console:
                read_until(console, f"xenstore: {domain.name}\n".encode())


def test_an_idle_daemon_and_idle_domains_use_no_cpu(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web"))
        with toolstack.console(domid) as console:
            read_until(console, b"xenstore: web\n")
            time.sleep(0.2)
            before = {pid: cpu_time(pid) for pid in host.processes()}
            time.sleep(1)
            assert {pid: cpu_time(pid) for pid in host.processes()} == before


def cpu_time(pid: int) -> int:
    """What a process has used of the CPU, in ns."""
    return time.clock_gettime_ns(~pid << 3 | 2)


def test_a_client_that_talks_nonsense_is_cut_off_alone(host: Host) -> None:
    with host.connect() as toolstack:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(host.run_dir / "xenolithd.socket"))
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert read_to_end(sock) == b""
        assert len(toolstack.list()) == 1


def test_restarts_of_a_domain_that_dies_at_once_are_spaced(host: Host) -> None:
    with host.connect() as toolstack:
        started = time.monotonic()
        domid = toolstack.create(host.config("loop", "reboot"))
        second = toolstack.wait(domid).successor
        assert second is not None
        assert toolstack.wait(second).successor is not None
        assert time.monotonic() - started > 2 * MIN_LIFE_S - 0.1
        toolstack.destroy(toolstack.resolve("loop"))
