"""The machine in which the tests of this folder run what they test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xenolith.builder.errors import BuildError

from . import checkout
from .machine import MachineError, Outcome
from .outer_kernel import OuterKernel, fetch


class Nested:
    """Runs scripts, each in a machine of its own."""

    def __init__(self, outer: OuterKernel, directory: Path) -> None:
        self._outer = outer
        self._directory = directory

    def run(self, script: str, limit: float) -> Outcome:
        """Run a script of sh(1) in the checkout, ``limit`` seconds at most."""
        try:
            return checkout.run(self._outer, script, self._directory, limit)
        except MachineError as error:
            pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def outer(tmp_path_factory: pytest.TempPathFactory) -> OuterKernel:
    try:
        wanted = os.environ.get(checkout.KERNEL_VARIABLE)
        return fetch(tmp_path_factory.mktemp("outer"), wanted)
    except BuildError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def nested(outer: OuterKernel, tmp_path: Path) -> Nested:
    return Nested(outer, tmp_path)
