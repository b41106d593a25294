"""Every test here runs Debian's kernel through the installed programs; see host.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from guest.build import GuestBuilder

from .host import GUEST, Host
from .terminal import Terminal


@pytest.fixture(scope="session")
def shared_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host for all tests that leave its daemon alone."""
    yield from _host(tmp_path_factory)


@pytest.fixture(scope="module", params=["pvh", pytest.param("pv", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> str:
    """The types of guests that have the same devices: those of PVH in the gate, those of PV in the slow ring."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def debian(shared_host: Host) -> Iterator[Terminal]:
    """The shell of a guest named debian, in a terminal on its console; all tests share it."""
    shared_host.xl("create", shared_host.config("debian", vcpus=2, maxvcpus=3))
    with shared_host.terminal("console", "debian") as terminal:
        terminal.wait_for(b"# ")
        yield terminal


@pytest.fixture(scope="session")
def tiny_guests(tmp_path_factory: pytest.TempPathFactory) -> GuestBuilder:
    """Guests of a few lines of C, which start and end at once."""
    return GuestBuilder(tmp_path_factory.mktemp("tiny-guests"))


@pytest.fixture
def host(shared_host: Host) -> Iterator[Host]:
    """The shared host; every domain but the shared guest is destroyed after the test."""
    yield shared_host
    for name in shared_host.names() - {"debian"}:
        # It may have ended meanwhile.
        shared_host.try_xl("destroy", name)


@pytest.fixture
def own_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host for one test alone, which may kill what it likes."""
    yield from _host(tmp_path_factory)


def _host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    if not (GUEST / "cloud" / "vmlinuz").exists():
        pytest.skip("the guest's kernel is not there: run make assets")
    made = Host(tmp_path_factory.mktemp("host"))
    yield made
    made.clean_up()
