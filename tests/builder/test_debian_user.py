"""The user data of `make debian` let its user in, and nobody else."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from xenolith.builder import debian_user
from xenolith.builder.cloud_init import nocloud_seed
from xenolith.builder.errors import BuildError


def test_they_are_user_data() -> None:
    data = debian_user.user_data("guest", ["ssh-ed25519 AAAA me"], "secret")
    assert nocloud_seed(data, "guest")
    head, _, body = data.partition(b"\n")
    assert head == b"#cloud-config"
    settings = json.loads(body)
    assert settings["hostname"] == "guest"
    assert settings["ssh_pwauth"] is False
    (user,) = settings["users"]
    assert user["ssh_authorized_keys"] == ["ssh-ed25519 AAAA me"]
    assert user["plain_text_passwd"] == "secret"


def test_passwords_differ() -> None:
    assert debian_user.new_password() != debian_user.new_password()


def test_the_users_own_keys_are_taken(tmp_path: Path) -> None:
    assert debian_user.public_keys(tmp_path) == []
    (tmp_path / ".ssh").mkdir()
    for name in ("id_rsa", "id_rsa.pub", "id_ed25519.pub", "known_hosts"):
        (tmp_path / ".ssh" / name).write_text(f"{name}\n")
    assert debian_user.public_keys(tmp_path) == ["id_ed25519.pub", "id_rsa.pub"]


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_a_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519"
    key = debian_user.new_key(path)
    assert key.startswith("ssh-ed25519 ")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert debian_user.new_key(path) == key


def test_without_ssh_keygen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="openssh-client"):
        debian_user.new_key(tmp_path / "key")
