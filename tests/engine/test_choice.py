"""Which engine a wish comes to, and what becomes of one that cannot be granted."""

from __future__ import annotations

import pytest

from xenolith.engine import choice
from xenolith.engine.choice import VARIABLE, EngineName
from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm import device


@pytest.mark.parametrize(
    ("wanted", "named", "engine"),
    [
        ("auto", None, "unicorn"),
        ("auto", "", "unicorn"),
        ("auto", "auto", "unicorn"),
        ("auto", "kvm", "kvm"),
        ("unicorn", "kvm", "unicorn"),
        ("kvm", "unicorn", "kvm"),
    ],
)
def test_the_configuration_comes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, wanted: str, named: str | None, engine: str
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if named is not None:
        monkeypatch.setenv(VARIABLE, named)
    assert choice.resolve(EngineName(wanted)) == engine


def test_an_engine_that_does_not_exist_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "bochs")
    with pytest.raises(EngineError, match="XENOLITH_ENGINE=bochs: expected one of auto, unicorn"):
        choice.resolve(EngineName.AUTO)


@pytest.fixture
def no_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without KVM, in a process that has not opened it yet."""
    monkeypatch.setattr(device, "PATH", "/dev/there-is-none")
    monkeypatch.setattr(choice._Devices, "kvm", None)
    monkeypatch.setattr(choice._Devices, "failure", None)


@pytest.mark.usefixtures("no_kvm")
def test_a_host_without_kvm_has_all_other_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not choice.open_devices(EngineName.AUTO)
    _, engine = choice.new_hvm_engine(1)
    engine.close()


@pytest.mark.usefixtures("no_kvm")
def test_what_could_not_be_opened_is_told_when_the_engine_is_made() -> None:
    assert not choice.open_devices(EngineName.KVM)
    with pytest.raises(EngineError, match="/dev/there-is-none cannot be opened"):
        choice.new_hvm_engine(1, EngineName.KVM)
