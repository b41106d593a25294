"""A domain on KVM through xl: made, run and ended in a jailed process of its own."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from guest.build import GuestBuilder
from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm.device import KvmDevice
from xenolith.engine.kvm.vcpu import HYPERCALL_INSTRUCTION

from .host import Host

pytestmark = pytest.mark.guest

_CODE = ", ".join(f"{byte:#x}" for byte in HYPERCALL_INSTRUCTION)


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    """A tiny guest that makes hypercalls as the engine has them in the hypercall page."""
    return str(
        GuestBuilder(tmp_path, f'-DHYPERCALL_INSTRUCTION=".byte {_CODE}"').build("corners/hello")
    )


def test_a_domain_runs_on_kvm_in_its_jail(own_host: Host, kernel: str) -> None:
    try:
        KvmDevice.open()
    except EngineError as error:
        pytest.skip(str(error))
    config = own_host.config(
        "tiny", kernel=kernel, ramdisk="", memory=32, extra="answer=42",
        engine="kvm", on_poweroff="preserve",
    )  # fmt: skip
    with own_host.running_xl("create", "-c", config) as console:
        assert console.stdout is not None
        for line in console.stdout:
            if b"Test result:" in line:
                break
    assert line.strip() == b"Test result: SUCCESS"


def test_a_pv_domain_is_refused_by_name(own_host: Host, kernel: str) -> None:
    config = own_host.config("pv", type="pv", kernel=kernel, ramdisk="", memory=32, engine="kvm")
    refused = own_host.try_xl("create", config)
    assert refused.returncode
    assert 'engine="kvm" does not run type="pv" yet' in refused.stderr


def test_xl_info_tells_which_engine_domains_get(own_host: Host) -> None:
    deadline = time.monotonic() + 30
    while (report := own_host.xl("info", "engines").strip()) == "not measured yet":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert re.match(r"hvm unicorn, pv unicorn; (kvm if asked for: ring 0|no kvm: )", report)
