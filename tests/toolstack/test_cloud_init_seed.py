"""The key cloud_init gives a domain one more disk, which stays when the domain restarts."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from xenolith.builder.cloud_init import nocloud_seed
from xenolith.builder.errors import BuildError
from xenolith.toolstack.config import loads
from xenolith.toolstack.config.domain_config import DomainConfig
from xenolith.toolstack.daemon.cloud_init_seed import with_seed

USER_DATA = b"#cloud-config\nhostname: example\n"


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XENOLITH_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def user_data(tmp_path: Path) -> Path:
    path = tmp_path / "user-data.yaml"
    path.write_bytes(USER_DATA)
    return path


def config(user_data: Path, disks: str = "") -> DomainConfig:
    return loads(f"name='guest'\ntype='hvm'\ndisk=[{disks}]\ncloud_init='{user_data}'\n").config


def test_the_seed_is_one_more_disk(user_data: Path, state_dir: Path) -> None:
    before = config(user_data, "'/a,raw,xvda,w', '/b,raw,hdb,w'")
    after = with_seed(before)
    assert after.disk[:-1] == before.disk
    seed = after.disk[-1]
    assert seed.vdev == "xvdc"
    assert not seed.writable
    assert seed.target == str(state_dir / "cloud-init" / "guest.iso")
    path = Path(seed.target)
    assert path.read_bytes() == nocloud_seed(USER_DATA, "guest")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_it_stays_when_the_domain_restarts(user_data: Path) -> None:
    first = with_seed(config(user_data))
    user_data.unlink()
    assert with_seed(first) == first


def test_it_is_made_anew_when_the_domain_is(user_data: Path) -> None:
    with_seed(config(user_data))
    user_data.write_bytes(b"#!/bin/sh\n")
    seed = with_seed(config(user_data)).disk[-1]
    assert seed.target is not None
    assert Path(seed.target).read_bytes() == nocloud_seed(b"#!/bin/sh\n", "guest")


def test_without_the_key_there_is_none() -> None:
    plain = loads("name='guest'\ntype='hvm'\n").config
    assert with_seed(plain) is plain


def test_user_data_that_cloud_init_would_ignore(user_data: Path, state_dir: Path) -> None:
    user_data.write_text("hostname: example\n")
    with pytest.raises(BuildError, match=r"user-data.yaml: .*#cloud-config"):
        with_seed(config(user_data))
    assert not state_dir.exists()


def test_all_names_are_taken(user_data: Path) -> None:
    disks = ", ".join(f"'/{letter},raw,xvd{letter},w'" for letter in "abcdefghijklmnopqrstuvwxyz")
    with pytest.raises(BuildError, match="no name from xvda to xvdz"):
        with_seed(config(user_data, disks))
