"""xl create: its options, its mistakes, and that it leaves nothing behind when it fails or is stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .host import GUEST, READY, Host, eventually, read_until

pytestmark = pytest.mark.guest

RUN_TRUE = "xenolith.run=true"


def nothing_is_left(host: Host, name: str) -> None:
    """Neither domain nor process, file, or node of the store."""
    assert name not in host.names()
    eventually(lambda: host.domain_processes() == set(), host.processes)
    assert os.listdir(host.run_dir / "domains") == ["last-domid"]
    assert host.xenstore("xenstore-list", "/local/domain").stdout.split() == ["0"]
    assert host.xenstore("xenstore-list", "/vm").stdout.split() == []


def test_with_a_console_and_no_terminal_it_shows_every_byte_and_ends_with_the_domain(
    own_host: Host,
) -> None:
    """Also through an override, which is how `make run` and the tutorial do it."""
    path = own_host.config("web", vcpus=2)
    done = subprocess.run(
        own_host.command("create", "-c", path, f'extra="console=hvc0 {RUN_TRUE}"'),
        env=own_host.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (own_host.logs / "guest-web.log").read_bytes()
    assert done.stdout.startswith(b"[    0.000000] Linux version")
    assert READY in done.stdout
    assert done.stdout.endswith(b"reboot: Power down\r\n")
    nothing_is_left(own_host, "web")


def test_paused_it_runs_nothing_until_unpause(host: Host) -> None:
    host.xl("create", "-p", host.config("web"))
    assert host.row("web").state == "--p---"
    used = host.row("web").seconds
    with host.running_xl("console", "web") as console:
        assert host.row("web").seconds == used
        host.xl("unpause", "web")
        assert read_until(console, READY).startswith(b"[    0.000000] Linux version")


def test_in_the_foreground_it_waits_for_the_end(host: Host) -> None:
    done = host.try_xl("create", "-F", host.config("web", extra=RUN_TRUE))
    assert done.returncode == 0
    assert done.stdout == ""
    assert "Waiting for domain web" in done.stderr
    assert "reason code 0" in done.stderr
    assert "web" not in host.names()


def test_in_the_foreground_ctrl_c_destroys_the_domain(host: Host) -> None:
    with host.running_xl("create", "-F", "-c", host.config("web")) as xl:
        read_until(xl, b"Linux version")
        xl.send_signal(signal.SIGINT)
        assert xl.wait(10) == 128 + signal.SIGINT
    assert "web" not in host.names()


def test_quiet_says_nothing(host: Host) -> None:
    done = host.try_xl("create", "-q", host.config("web", vif=[""]))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "web" in host.names()


def test_a_dry_run_prints_the_configuration_and_creates_nothing(host: Host) -> None:
    done = host.try_xl("create", "-n", host.config("web", vcpus=3), "memory=300")
    assert done.returncode == 0
    config = json.loads(done.stdout)
    assert config["c_info"]["name"] == "web"
    assert config["b_info"]["max_vcpus"] == 3
    assert config["b_info"]["target_memkb"] == 300 << 10
    assert "web" not in host.names()


def test_a_configuration_from_standard_input(host: Host) -> None:
    text = host.config("other").read_text()
    host.xl("create", "-e", "-p", "-", 'name="web"', typed=text)
    assert "web" in host.names()


def test_a_name_can_be_used_once(host: Host) -> None:
    host.xl("create", "-p", host.config("web"))
    again = host.try_xl("create", host.config("web"))
    assert again.returncode == 1
    assert "web exists already" in again.stderr


def test_check_config_names_file_line_and_key_of_every_mistake(host: Host) -> None:
    path = host.directory / "wrong.cfg"
    path.write_text(
        'name = "wrong"\n'
        'type = "pvh"\n'
        'kernel = "/absent/vmlinuz"\n'
        "memroy = 512\n"
        "memory = 16\n"
        "vcpus = 1000\n"
        'on_crash = "explode"\n'
    )
    for verb in ("check-config", "create"):
        done = host.try_xl(verb, path)
        assert done.returncode == 1
        lines = [line for line in done.stderr.splitlines() if line.startswith(str(path))]
        found = {line.split(":")[1]: line for line in lines}
        assert set(found) == {"4", "5", "6", "7"}, done.stderr
        assert "'memroy'" in found["4"]
        assert "did you mean 'memory'" in found["4"]
        assert "'memory'" in found["5"]
        assert "'vcpus'" in found["6"]
        assert "'on_crash'" in found["7"]
    text = path.read_text().replace("memroy = 512\nmemory = 16\n", "")
    path.write_text(text.replace("1000", "1").replace("explode", "destroy"))
    done = host.try_xl("check-config", path)
    assert done.stderr.startswith(f"{path}:3: key 'kernel': there is no file '/absent/vmlinuz'")
    assert host.try_xl("check-config", host.config("right")).returncode == 0


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('name = "a\n', ":1:"),
        ('name = "a"\nvif = [ "x",\n', ":3:"),
        ("name =\n", ":1:"),
        ("= 3\n", ":1:"),
        ("\x00\x01\x02", ":1:"),
    ],
)
def test_what_is_no_configuration_is_an_error_with_a_place(
    host: Host, text: str, where: str
) -> None:
    path = host.directory / "broken.cfg"
    path.write_text(text)
    done = host.try_xl("create", path)
    assert done.returncode == 1
    assert f"{path}{where}" in done.stderr


def damaged(kernel: Path, name: str, data: bytes) -> str:
    path = kernel / name
    path.write_bytes(data)
    return str(path)


def test_kernels_that_cannot_be_booted_are_refused_by_name(own_host: Host, tmp_path: Path) -> None:
    good = (GUEST / "cloud" / "vmlinuz").read_bytes()
    busybox = (GUEST / "cloud" / "busybox").read_bytes()
    cases = {
        damaged(tmp_path, "half", good[: len(good) // 2]): "truncated",
        damaged(tmp_path, "boot-sector", good[:1024]): "",
        damaged(tmp_path, "text", b"#!/bin/sh\n"): "",
        damaged(tmp_path, "empty", b""): "",
        # A program, not a kernel: it has no PVH note.
        damaged(tmp_path, "busybox", busybox): "PVH",
        str(tmp_path): "is not a regular file",
        str(tmp_path / "absent"): "no file",
    }
    for kernel, sentence in cases.items():
        done = own_host.try_xl("create", own_host.config("web", kernel=kernel))
        assert done.returncode == 1, kernel
        assert sentence in done.stderr
        assert kernel in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 2, done.stderr
        nothing_is_left(own_host, "web")


@pytest.mark.parametrize(
    ("memory", "sentence"),
    [(31, "out of range"), (32, "does not fit"), (1 << 40, "out of range")],
)
def test_too_little_or_too_much_memory_is_refused(host: Host, memory: int, sentence: str) -> None:
    done = host.try_xl("create", host.config("web", memory=memory))
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "web" not in host.names()


def is_at_its_console(host: Host, options: tuple[str, ...]) -> bool:
    """Whether `xl create -c` had got so far that it was no more than a console to a domain."""
    if "-c" not in options or "web" not in host.names():
        return False
    return "p" not in host.row("web").state


def test_ctrl_c_at_any_moment_leaves_nothing_behind(own_host: Host) -> None:
    own_host.xl("list")
    path = own_host.config("web")
    started = time.monotonic()
    own_host.xl("create", path)
    whole = time.monotonic() - started
    own_host.xl("destroy", "web")
    moments = random.Random(2)
    for _ in range(20):
        options = moments.choice([(), ("-p",), ("-c",)])
        with own_host.running_xl("create", *options, path) as xl:
            time.sleep(moments.uniform(0, 1.1 * whole))
            xl.send_signal(moments.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))
            status = xl.wait(10)
        if status == 0 or is_at_its_console(own_host, options):
            own_host.xl("destroy", "web")
        nothing_is_left(own_host, "web")
