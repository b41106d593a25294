"""Every test here runs a guest of its own."""

from __future__ import annotations

import pytest

from .build import COMPAT, LEGACY_PV, PV, GuestBuilder


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> GuestBuilder:
    return GuestBuilder(tmp_path_factory.mktemp("guests"))


@pytest.fixture(scope="session")
def pv_guests(tmp_path_factory: pytest.TempPathFactory) -> GuestBuilder:
    return GuestBuilder(tmp_path_factory.mktemp("pv-guests"), family=PV)


@pytest.fixture(scope="session")
def compat_guests(tmp_path_factory: pytest.TempPathFactory) -> GuestBuilder:
    return GuestBuilder(tmp_path_factory.mktemp("compat-guests"), family=COMPAT)


@pytest.fixture(scope="session")
def legacy_pv_guests(tmp_path_factory: pytest.TempPathFactory) -> GuestBuilder:
    return GuestBuilder(tmp_path_factory.mktemp("legacy-pv-guests"), family=LEGACY_PV)
