"""Where sockets live, and whom that place must belong to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xenolith.machine import run_dir


def test_the_override_is_created_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XENOLITH_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("XENSTORED_PATH", raising=False)
    assert run_dir.runtime_directory() == str(tmp_path / "run")
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert run_dir.xenstored_socket() == str(tmp_path / "run" / "xenstored.socket")


def test_a_user_meets_in_the_session_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XENOLITH_RUN_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid or 1000)
    assert run_dir.runtime_directory() == str(tmp_path / "xenolith")


def test_xenstored_is_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XENSTORED_PATH", raising=False)
    monkeypatch.delenv("XENOLITH_RUN_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert run_dir.xenstored_socket() == "/run/xenstored/socket"
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid or 1000)
    assert run_dir.xenstored_socket() == str(tmp_path / "xenolith" / "xenstored.socket")


def test_the_environment_names_xenstoreds_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XENOLITH_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XENSTORED_PATH", "/elsewhere/socket")
    assert run_dir.xenstored_socket() == "/elsewhere/socket"


def test_a_link_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("XENOLITH_RUN_DIR", str(tmp_path / "run"))
    with pytest.raises(PermissionError, match="not a directory"):
        run_dir.runtime_directory()


def test_a_directory_that_others_can_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    monkeypatch.setenv("XENOLITH_RUN_DIR", str(tmp_path / "run"))
    with pytest.raises(PermissionError, match="written by others"):
        run_dir.runtime_directory()


def test_a_directory_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XENOLITH_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(PermissionError, match="belongs to user"):
        run_dir.runtime_directory()
