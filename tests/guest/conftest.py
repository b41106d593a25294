"""Every test here runs a guest of its own."""

from __future__ import annotations

import pytest

from .build import GuestBuilder


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> GuestBuilder:
    return GuestBuilder(tmp_path_factory.mktemp("guests"))
