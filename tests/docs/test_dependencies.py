"""docs/dependencies.md lists what the project uses, all of it and nothing else."""

from __future__ import annotations

import re
import tomllib

from xenolith.builder.assets import FLAVOURS

from .markdown import ROOT, Page

PAGE = Page("docs/dependencies.md")


def section(title: str) -> str:
    return PAGE.text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def constant(path: str, name: str) -> str:
    """A text that a module calls by a name of its own."""
    found = re.search(rf'^{name} = "(.+)"$', (ROOT / path).read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_python_packages_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    used = {re.match(r"[\w-]+", requirement)[0] for requirement in required}  # type: ignore[index]
    assert set(re.findall(r"^\| \[([\w-]+)\]", section("Python packages"), re.MULTILINE)) == used


def test_debian_packages_are_those_that_are_installed_or_fetched() -> None:
    scripts = "\n".join((ROOT / name).read_text() for name in ("Makefile", ".ci/run"))
    installed = set()
    for arguments in re.findall(r"scripts/need-packages ([\w \-]+)", scripts):
        installed |= set(arguments.split())
    busybox = constant("src/xenolith/builder/assets.py", "_BUSYBOX")
    peer = constant("bench/qemu.py", "PACKAGE")
    fetched = {*FLAVOURS.values(), busybox, peer}
    listed = {
        name
        for row in re.findall(
            r"^\| ([^|\[]+) \|", section("Programs and packages of Debian"), re.MULTILINE
        )
        for name in row.split(", ")
    }
    # Tests look for readelf without installing it, and apt is asked for nothing where it is not.
    assert listed - {"package", "apt", "binutils"} == installed | fetched


def test_each_has_a_reason_and_a_licence() -> None:
    for row in PAGE.rows:
        assert len(row) == 3
        assert all(row)
