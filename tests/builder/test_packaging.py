"""What pip installs is all that is needed, far from the source tree."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "xenolith"


def test_every_data_file_goes_into_the_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = [
        str(Path(package.replace(".", "/")) / pattern)
        for package, files in settings["package-data"].items()
        for pattern in files
    ]
    listed = subprocess.run(
        ["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    data = [
        name.removeprefix("src/")
        for name in listed.stdout.split()
        if Path(name).suffix not in (".py", ".c", ".h")
    ]
    assert "xenolith/builder/guest_init/init" in data
    for name in data:
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name


@pytest.mark.slow
def test_a_wheel_works_in_an_empty_environment(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("src", "pyproject.toml", "setup.py", "README.md", "LICENSE.md"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    for built in source.rglob("*.so"):
        built.unlink()
    python = tmp_path / "venv" / "bin" / "python"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XEN"))
    }
    environment["XENOLITH_RUN_DIR"] = str(tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*command: object) -> str:
        done = subprocess.run(
            list(map(str, command)), cwd=elsewhere, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    run(sys.executable, "-m", "venv", tmp_path / "venv")
    pip = (python, "-m", "pip", "--disable-pip-version-check", "-q")
    run(*pip, "wheel", "--no-deps", "-w", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    run(*pip, "install", wheel)
    shutil.rmtree(source)
    config = elsewhere / "guest.cfg"
    config.write_text(
        'name = "guest"\ntype = "pvh"\nmemory = 256\nextra = "console=hvc0 xenolith.run=true"\n'
        + run(python, "-m", "xenolith.cli.assets", "cloud")
    )
    xl = python.with_name("xl")
    try:
        shown = run(xl, "create", "-c", config)
    finally:
        run(xl, "list")
        pids = [
            entry for entry in os.listdir("/proc") if entry.isdigit() and is_daemon(entry, tmp_path)
        ]
        for pid in pids:
            os.kill(int(pid), 15)
    assert "XENOLITH: user space is up" in shown
    assert "Power down" in shown


def is_daemon(pid: str, directory: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text()
        return str(directory) in command and "xenolithd" in command
    except OSError:
        return False
