"""Debian 13's kernel, whatever release this machine runs: its packages come from Debian's own mirror."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from xenolith.builder.assets import Assets, Guest
from xenolith.cli.assets import INIT

from .host import READY, Host, eventually

MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """A guest of the release's cloud kernel."""
    directory = tmp_path_factory.mktemp("trixie")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("APT_CONFIG", str(_apt_of_its_own(directory)))
        update = subprocess.run(["apt-get", "update"], capture_output=True, text=True, check=False)
        if update.returncode != 0 or "Err:" in update.stdout:
            pytest.skip(f"Debian's mirror is out of reach: {update.stderr}")
        return Assets(INIT, print, directory / "guest").update("cloud")


def _apt_of_its_own(directory: Path) -> Path:
    """The configuration of an apt that knows that release alone."""
    for needed in ("lists/partial", "archives/partial", "empty"):
        (directory / needed).mkdir(parents=True)
    (directory / "status").touch()
    sources = directory / "sources.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {MIRROR} trixie main\n")
    configuration = directory / "apt.conf"
    configuration.write_text(
        f'Dir::State::Lists "{directory}/lists"; Dir::State::status "{directory}/status";\n'
        f'Dir::Cache "{directory}"; Dir::Etc::SourceList "{sources}";\n'
        f'Dir::Etc::SourceParts "{directory}/empty"; Dir::Etc::Preferences "/dev/null";\n'
        f'Dir::Etc::PreferencesParts "{directory}/empty"; APT::Sandbox::User "root";\n'
    )
    return configuration


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pvh", "pv"])
def test_debian_13s_kernel_comes_up_and_shuts_down(own_host: Host, guest: Guest, kind: str) -> None:
    config = own_host.config(
        "trixie", type=kind, kernel=str(guest.kernel), ramdisk=str(guest.ramdisk), vcpus=2
    )
    own_host.xl("create", config)
    with own_host.terminal("console", "trixie") as terminal:
        assert b"Linux version 6.12." in terminal.wait_for(READY)
        terminal.wait_for(b"# ")
    own_host.xl("shutdown", "-w", "trixie")
    assert "trixie" not in own_host.names()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pvh", "pv"])
def test_debian_13s_kernel_takes_vcpus_and_gives_them_back(
    own_host: Host, guest: Guest, kind: str
) -> None:
    files = {"kernel": str(guest.kernel), "ramdisk": str(guest.ramdisk)}
    own_host.xl("create", own_host.config("trixie", type=kind, vcpus=1, maxvcpus=2, **files))
    with own_host.terminal("console", "trixie") as terminal:
        terminal.wait_for(b"# ")
        assert terminal.run("nproc").endswith("1\n")
        own_host.xl("vcpu-set", "trixie", 2)
        online = "/sys/devices/system/cpu/cpu1/online"
        eventually(lambda: "there" in terminal.run(f"[ -e {online} ] && echo there"))
        # Its messages come in between.
        terminal.run(f"echo 1 > {online}")
        assert terminal.run("nproc").endswith("2\n")
        own_host.xl("vcpu-set", "trixie", 1)
        eventually(lambda: own_host.row("trixie").vcpus == 1)
        assert terminal.run("nproc").endswith("1\n")
