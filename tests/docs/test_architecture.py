"""The code keeps to docs/architecture.md: packages, the direction of imports, and names."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .markdown import ROOT, Page

PAGE = Page("docs/architecture.md")
SOURCE = ROOT / "src" / "xenolith"
FLOORS = re.findall(r"^\| `(\w+)/` \|", PAGE.text, flags=re.MULTILINE)
"""The packages, uppermost first."""


def imports(path: Path) -> Iterator[str]:
    """The modules of the project that a module imports, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "xenolith":
            yield from (f"xenolith.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def modules(package: str) -> list[Path]:
    return sorted((SOURCE / package).rglob("*.py"))


def test_it_lists_every_package() -> None:
    assert set(FLOORS) == {path.parent.name for path in SOURCE.glob("*/__init__.py")}


@pytest.mark.parametrize("package", FLOORS)
def test_imports_run_downward(package: str) -> None:
    above = {f"xenolith.{name}" for name in FLOORS[: FLOORS.index(package)]}
    for path in modules(package):
        for module in imports(path):
            assert ".".join(module.split(".")[:2]) not in above, f"{path} imports {module}"


@pytest.mark.parametrize("package", [name for name in FLOORS if name != "engine"])
def test_nothing_outside_engine_imports_an_engine(package: str) -> None:
    for path in modules(package):
        for module in imports(path):
            assert not module.startswith("xenolith.engine.unicorn"), path


def test_directories_and_files_that_it_names_exist() -> None:
    names = re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:/|\.py))`", PAGE.text)
    assert len(names) > 15
    for name in names:
        assert list(SOURCE.rglob(name.rstrip("/"))), name


def test_seams_that_it_names_exist() -> None:
    seams = re.findall(r"^\| `([\w.]+)\.(\w+)`", PAGE.text, flags=re.MULTILINE)
    assert len(seams) > 5
    for module, name in seams:
        assert hasattr(importlib.import_module(f"xenolith.{module}"), name), name
