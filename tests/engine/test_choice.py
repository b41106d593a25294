"""Which engine a wish comes to, and what becomes of one that cannot be granted."""

from __future__ import annotations

import re

import kvm_host
import pytest

from xenolith.engine import choice
from xenolith.engine.choice import VARIABLE, EngineName, VcpuKind
from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm import device, measure
from xenolith.engine.kvm.figures import KvmFigures
from xenolith.engine.kvm.pv.ring_3 import Ring3


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
    monkeypatch.setattr(choice._Devices, "figures", None)


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


@pytest.mark.usefixtures("no_kvm")
def test_the_report_tells_why_there_is_no_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert choice.report() == (
        "hvm unicorn, pv unicorn; no kvm: /dev/there-is-none cannot be opened: "
        "No such file or directory"
    )


def test_the_report_tells_how_fast_kvm_is(monkeypatch: pytest.MonkeyPatch) -> None:
    kvm_host.device()
    monkeypatch.setenv(VARIABLE, "kvm")
    found = re.fullmatch(
        r"hvm kvm, pv kvm; kvm if asked for: ring 0 (native|emulated), "
        r"(\d+\.\d) million instructions/s(, without Xen's hypercalls)?; "
        r"ring 3 native, \d+\.\d us a trap",
        choice.report(),
    )
    assert found, choice.report()
    assert (found[1] == "native") == (float(found[2]) > 20)


FAST = KvmFigures(3e9, 2e-6, Ring3(True, False, answers_cpuid=True), has_xen=True)


@pytest.mark.parametrize(
    ("figures", "hvm", "pv"),
    [
        (None, "unicorn", "unicorn"),
        (FAST, "kvm", "kvm"),
        (FAST._replace(ring_0_rate=2e6), "unicorn", "kvm"),
        (FAST._replace(has_xen=False), "unicorn", "kvm"),
        (FAST._replace(trap_s=25e-6), "kvm", "unicorn"),
        (FAST._replace(ring_3=Ring3(True, False, answers_cpuid=False)), "kvm", "unicorn"),
    ],
)
def test_who_wishes_nothing_gets_what_is_faster(
    monkeypatch: pytest.MonkeyPatch, figures: KvmFigures | None, hvm: str, pv: str
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(choice._Devices, "figures", figures)
    assert choice.resolve(EngineName.AUTO, VcpuKind.HVM) == hvm
    assert choice.resolve(EngineName.AUTO, VcpuKind.PV) == pv


def test_a_choice_tells_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(choice._Devices, "figures", FAST)
    assert "2.0 us a trap" in choice.choose(EngineName.AUTO, VcpuKind.PV).why
    assert choice.choose(EngineName.KVM, VcpuKind.PV).why == "the configuration says so"
    monkeypatch.setenv(VARIABLE, "unicorn")
    assert VARIABLE in choice.choose(EngineName.AUTO, VcpuKind.PV).why


def test_a_kvm_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    kvm = kvm_host.device()
    endless = b"\xeb\xfe"
    monkeypatch.setattr(measure, "_LOOP_AND_HALT", endless)
    with pytest.raises(EngineError, match="KVM does not get through 1000 instructions"):
        measure.ring_0_rate(kvm)
