"""An apt that knows one release and architecture of Debian, from its own mirror, whatever this machine runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from xenolith.builder.assets import Assets, Guest
from xenolith.cli.assets import INIT

_MIRROR = "http://deb.debian.org/debian"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def fetch_guest(directory: Path, suite: str, architecture: str, flavour: str) -> Guest:
    """A guest of that release; skips the test where the mirror is out of reach."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("APT_CONFIG", str(_configure(directory, suite, architecture)))
        update = subprocess.run(["apt-get", "update"], capture_output=True, text=True, check=False)
        if update.returncode != 0 or "Err:" in update.stdout:
            pytest.skip(f"Debian's mirror is out of reach: {update.stderr}")
        return Assets(INIT, print, directory / "guest").update(flavour)


def _configure(directory: Path, suite: str, architecture: str) -> Path:
    for needed in ("lists/partial", "archives/partial", "empty"):
        (directory / needed).mkdir(parents=True)
    (directory / "status").touch()
    sources = directory / "sources.list"
    sources.write_text(f"deb [signed-by={_KEYRING}] {_MIRROR} {suite} main\n")
    configuration = directory / "apt.conf"
    configuration.write_text(
        f'Dir::State::Lists "{directory}/lists"; Dir::State::status "{directory}/status";\n'
        f'Dir::Cache "{directory}"; Dir::Etc::SourceList "{sources}";\n'
        f'Dir::Etc::SourceParts "{directory}/empty"; Dir::Etc::Preferences "/dev/null";\n'
        f'Dir::Etc::PreferencesParts "{directory}/empty"; APT::Sandbox::User "root";\n'
        f'APT::Architecture "{architecture}"; APT::Architectures {{ "{architecture}"; }};\n'
    )
    return configuration
