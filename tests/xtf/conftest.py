"""The Xen Test Framework, built from its own sources: the guests that Xen's developers test Xen with."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from system.host import Host

REPOSITORY = "https://xenbits.xen.org/git-http/xtf.git"
COMMIT = "453490df6f65fb503a39b1bddf0093441eece9ae"

_RESULT = re.compile(r"^Test result: (\w+)", re.MULTILINE)


class Framework:
    """The built guests, and a host to run them on."""

    def __init__(self, directory: Path, host: Host) -> None:
        self._directory = directory
        self._host = host

    def run(self, kind: str, name: str) -> tuple[str, str]:
        """What a guest says of itself, or CRASH, and all that it prints.

        Those for HVM domains are entered as PVH kernels are, and run so.
        """
        folder = self._directory / "tests" / name.partition("~")[0]
        theirs = (folder / f"test-{kind}-{name}.cfg").read_text()
        changes = {
            "firmware_override=": "kernel=",
            '"hvm"': '"pvh"',
            "builder=": "#",
            "loader=": "#",
        }
        for old, new in changes.items():
            theirs = theirs.replace(old, new)
        config = self._host.directory / f"{kind}-{name}.cfg"
        config.write_text(f'{theirs}\nengine = "unicorn"\n')
        console = self._host.try_xl("create", "-c", config, timeout=120).stdout
        found = _RESULT.findall(console)
        return found[-1] if found else "CRASH", console


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The framework's tree, built; XTF_REPOSITORY names another place to clone it from."""
    directory = tmp_path_factory.mktemp("xtf") / "xtf"
    repository = os.environ.get("XTF_REPOSITORY", REPOSITORY)
    for command in (
        f"git clone --quiet {repository} {directory}",
        f"git -C {directory} checkout --quiet {COMMIT}",
        f"make --silent -C {directory} -j{os.cpu_count()}",
    ):
        done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.fail(f"{command}: {done.stderr[-2000:]}", pytrace=False)
    return directory


@pytest.fixture(scope="session")
def framework(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Framework]:
    host = Host(tmp_path_factory.mktemp("host"))
    yield Framework(sources, host)
    host.clean_up()
