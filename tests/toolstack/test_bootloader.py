"""bootloader="pygrub" in the daemon, where it fails: the sentence, and that nothing is left."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bootloader import images
from xenolith.storage.open import open_image
from xenolith.toolstack.client import ToolstackError
from xenolith.toolstack.config.disk import DiskConfig

from .host import Host, eventually, read_until

GRUB_CFG = """\
set timeout=${TIMEOUT}
menuentry Default { linux /boot/vmlinuz default; initrd /boot/initrd; }
menuentry Other { linux /boot/vmlinuz other; }
"""
SIZE = os.terminal_size((80, 24))


def make_disk(path: Path, script: str = GRUB_CFG.replace("${TIMEOUT}", "5")) -> Path:
    tree = {
        "boot/vmlinuz": images.content(1, 100_000),
        "boot/initrd": images.content(2, 100_000),
        "boot/grub/grub.cfg": script.encode(),
    }
    shutil.rmtree(path.with_suffix(".tree"), ignore_errors=True)
    return images.make_ext("ext4")(path, images.plant(path.with_suffix(".tree"), tree))


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return make_disk(tmp_path / "disk.img")


def config(host: Host, name: str, disk: Path) -> dict[str, Any]:
    disks = (DiskConfig(vdev="xvda", target=str(disk)),)
    return host.config(name, "extra", disk=disks, bootloader="pygrub")


def bootloaders(host: Host) -> list[int]:
    mark = b"bootloader_process"
    return [pid for pid in host.processes() if mark in Path(f"/proc/{pid}/cmdline").read_bytes()]


def nothing_is_left(host: Host) -> None:
    with host.connect() as toolstack:
        assert [domain.domid for domain in toolstack.list()] == [0]
    eventually(lambda: len(host.processes()) == 2, host.processes)
    files = {path.name for path in (host.run_dir / "domains").iterdir()}
    assert files <= {"last-domid"}
    # Who destroys a domain hears of it before the daemon hears of the boot loader's end.
    eventually(lambda: not held_by(host), lambda: held_by(host))


def held_by(host: Host) -> list[str]:
    """The memory files and disks that the daemon has open."""
    held = []
    for descriptor in Path(f"/proc/{host.daemon_pid()}/fd").iterdir():
        with suppress(FileNotFoundError):
            held.append(os.readlink(descriptor))
    return [path for path in held if "memfd:" in path or path.endswith(".img")]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("while true; do true; done", "takes more than 100000 steps"),
        ("menuentry a { chainloader +1; }", "the entry 'a' boots no Linux kernel"),
        ("menuentry a { linux /gone; }", "there is no file /gone on the ext4"),
        ("if", "'then' expected, not the end"),
    ],
)
def test_what_cannot_be_booted(host: Host, tmp_path: Path, script: str, why: str) -> None:
    disk = make_disk(tmp_path / "bad.img", script)
    with host.connect() as toolstack, pytest.raises(ToolstackError) as error:
        toolstack.create(config(host, "bad", disk))
    assert str(error.value).startswith("Domain bad cannot be created: pygrub: disk xvda: ")
    assert why in str(error.value)
    nothing_is_left(host)


def test_a_disk_that_is_in_use(host: Host, disk: Path) -> None:
    user = open_image(disk, "raw", writable=True)
    with host.connect() as toolstack, pytest.raises(ToolstackError, match=r"disk xvda: .*in use"):
        toolstack.create(config(host, "web", disk))
    user.close()
    nothing_is_left(host)


def test_no_disk(host: Host) -> None:
    with host.connect() as toolstack, pytest.raises(ToolstackError, match="needs a disk to look"):
        toolstack.create(host.config("web", bootloader="pygrub"))
    nothing_is_left(host)


class Menu:
    """A domain in the making, whose menu somebody looks at."""

    def __init__(self, host: Host, config: dict[str, Any]) -> None:
        self.menu: socket.socket
        self.outcome: int | ToolstackError | None = None
        self._shown = threading.Event()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._create, args=(host, config), daemon=True)
        self._thread.start()
        assert self._shown.wait(10)
        read_until(self.menu, b"boots in")

    def _create(self, host: Host, config: dict[str, Any]) -> None:
        def show(menu: socket.socket) -> None:
            self.menu = menu
            self._shown.set()
            self._left.wait(20)

        with host.connect() as toolstack:
            try:
                self.outcome = toolstack.create_choosing(config, SIZE, show)
            except ToolstackError as error:
                self.outcome = error

    def leave(self) -> int | ToolstackError:
        """Look away; how the creation ended."""
        self._left.set()
        self._thread.join(20)
        assert self.outcome is not None
        return self.outcome


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    """A disk whose menu waits."""
    return make_disk(tmp_path / "patient.img", GRUB_CFG.replace("${TIMEOUT}", "60"))


def test_a_process_that_dies_at_the_menu(host: Host, patient: Path) -> None:
    menu = Menu(host, config(host, "web", patient))
    (pid,) = bootloaders(host)
    host.kill(pid, signal.SIGSEGV)
    failure = menu.leave()
    assert isinstance(failure, ToolstackError)
    assert "pygrub: disk xvda: the process has died, see " in str(failure)
    nothing_is_left(host)


def test_a_process_that_uses_up_its_time(host: Host, patient: Path) -> None:
    menu = Menu(host, config(host, "web", patient))
    (pid,) = bootloaders(host)
    host.kill(pid, signal.SIGXCPU)
    assert "takes more than 20 s of CPU time" in str(menu.leave())
    nothing_is_left(host)


def test_a_daemon_that_dies_at_the_menu(host: Host, patient: Path) -> None:
    menu = Menu(host, config(host, "web", patient))
    host.kill(host.daemon_pid())
    eventually(lambda: not bootloaders(host))
    assert "The daemon went away during create" in str(menu.leave())
    nothing_is_left(host)


def test_a_domain_is_destroyed_at_the_menu(host: Host, patient: Path) -> None:
    menu = Menu(host, config(host, "web", patient))
    with host.connect() as toolstack:
        toolstack.destroy(toolstack.resolve("web"))
    assert "Domain web was destroyed while it was created" in str(menu.leave())
    nothing_is_left(host)
