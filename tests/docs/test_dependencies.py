"""docs/dependencies.md lists what the project uses, all of it and nothing else."""

from __future__ import annotations

import re
import tomllib

from xenolith.builder.assets import FLAVOURS

from .markdown import ROOT, Page

PAGE = Page("docs/dependencies.md")


def section(title: str) -> str:
    return PAGE.text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def matches(pattern: str, path: str) -> set[str]:
    """What a file of the project has between the parentheses of a pattern; at least once."""
    found = set(re.findall(pattern, (ROOT / path).read_text(), re.MULTILINE))
    assert found, f"{path} has nothing like {pattern}"
    return found


def test_python_packages_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    used = {re.match(r"[\w.-]+", requirement)[0] for requirement in required}  # type: ignore[index]
    assert set(re.findall(r"^\| \[([\w.-]+)\]", section("Python packages"), re.MULTILINE)) == used


def test_debian_packages_are_those_that_are_installed_or_fetched() -> None:
    (benchmarks,) = matches(r"^_PACKAGES = \((.+)\)$", "bench/__main__.py")
    installed = set(re.findall(r'"([a-z0-9-]+)"', benchmarks))
    for path in ("Makefile", ".ci/run"):
        for arguments in matches(
            r'(?:scripts/need-packages|missing=(?:"\$\$missing)?) ?([\w \-]+)', path
        ):
            installed |= set(arguments.split())
    fetched = {*FLAVOURS.values()} | matches(
        r'^_BUSYBOX = "(.+)"$', "src/xenolith/builder/assets.py"
    )
    listed = {
        name
        for row in re.findall(
            r"^\| ([^|\[]+) \|", section("Programs and packages of Debian"), re.MULTILINE
        )
        for name in row.split(", ")
    }
    # Tests look for readelf and gdb without installing it, and apt is asked for nothing where it is not.
    assert listed - {"package", "apt", "binutils", "gdb"} == installed | fetched


def test_each_has_a_reason_and_a_licence() -> None:
    for row in PAGE.rows:
        assert len(row) == 3
        assert all(row)
