"""Where no daemon can be started, xl says what is in the way and how to go round it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xenolith.toolstack.client import Toolstack, ToolstackError


def failure() -> str:
    with pytest.raises(ToolstackError) as refusal:
        Toolstack.connect()
    return str(refusal.value)


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XENOLITH_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("XENOLITH_STATE_DIR", raising=False)
    return tmp_path / "run"


def test_a_run_directory_that_cannot_be_made(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XENOLITH_RUN_DIR", f"{run_dir}/below")
    assert failure() == (
        f"The run directory cannot be used: {run_dir}/below: No such file or directory "
        "(XENOLITH_RUN_DIR names another)"
    )


def test_a_run_directory_whose_path_is_too_long(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = f"{run_dir}/{'x' * 100}"
    monkeypatch.setenv("XENOLITH_RUN_DIR", directory)
    assert re.fullmatch(
        rf"The run directory cannot be used: {directory}: a path of more than \d+ bytes is too "
        r"long for sockets \(XENOLITH_RUN_DIR names another\)",
        failure(),
    )


def test_logs_that_cannot_be_written(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_bytes(b"no directory")
    monkeypatch.setenv("XENOLITH_STATE_DIR", str(tmp_path / "state"))
    assert failure() == (
        f"The daemon could not be started: no log can be written: {tmp_path}/state/logs: "
        "Not a directory (XENOLITH_STATE_DIR names another directory)"
    )
