"""`xl create --cloud-init`: the file is named to the daemon, whatever its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_daemon import ScriptedDaemon

from xenolith.cli.xl import main
from xenolith.toolstack.config.load import answer
from xenolith.toolstack.config_source import ConfigSource


@pytest.fixture
def created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The configurations of the domains that a daemon is asked to create."""
    monkeypatch.setenv("XENOLITH_RUN_DIR", str(tmp_path / "run"))
    configs: list[dict[str, Any]] = []

    def create(config: dict[str, Any], paused: bool) -> dict[str, int]:
        configs.append(config)
        return {"domid": len(configs)}

    daemon = ScriptedDaemon(
        {"load_config": lambda **source: answer(ConfigSource(**source)), "create": create}
    )
    yield configs
    daemon.close()


@pytest.fixture
def domain(tmp_path: Path) -> Path:
    path = tmp_path / "conf" / "web.cfg"
    path.parent.mkdir()
    path.write_text('name="web"\ntype="hvm"\ncloud_init="other.yaml"\n')
    return path


@pytest.mark.parametrize("name", ["me.yaml", "it's me.yaml", 'so "called".yaml', "back\\slash"])
def test_the_file_is_that_of_the_current_directory(
    created: list[dict[str, Any]],
    domain: Path,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / name).write_text("#cloud-config\n")
    monkeypatch.chdir(tmp_path)
    assert main(["create", "-q", str(domain), f"--cloud-init={name}"]) == 0
    assert [config["cloud_init"] for config in created] == [str(tmp_path / name)]


def test_a_file_that_does_not_exist(
    created: list[dict[str, Any]], domain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["create", "-q", str(domain), "--cloud-init", "missing.yaml"]) == 1
    assert "key 'cloud_init': there is no file" in capsys.readouterr().err
    assert not created
