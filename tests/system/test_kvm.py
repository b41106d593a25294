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

from .host import READY, Host, eventually

pytestmark = pytest.mark.guest

_CODE = ", ".join(f"{byte:#x}" for byte in HYPERCALL_INSTRUCTION)


def _need_kvm() -> None:
    try:
        KvmDevice.open()
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    """A tiny guest that makes hypercalls as the engine has them in the hypercall page."""
    return str(
        GuestBuilder(tmp_path, f'-DHYPERCALL_INSTRUCTION=".byte {_CODE}"').build("corners/hello")
    )


def test_a_domain_runs_on_kvm_in_its_jail(own_host: Host, kernel: str) -> None:
    _need_kvm()
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


def test_debians_kernel_runs_as_a_pv_domain_on_kvm(own_host: Host) -> None:
    _need_kvm()
    with own_host.terminal(
        "create", "-c", own_host.config("pv", type="pv", engine="kvm", on_poweroff="preserve")
    ) as console:
        console.wait_for(READY, timeout=180)
        console.wait_for(b"# ", timeout=60)
        messages = console.run("dmesg", timeout=60)
        assert "Hypervisor detected: Xen PV" in messages
        assert "BUG" not in messages and "WARNING" not in messages
        assert console.run("seq 1 2000 | sort -rn | head -n 1", timeout=60) == "2000\n"
        console.type(b"poweroff -f\n")
        eventually(lambda: "system calls" in own_host.xl("dmesg"), lambda: own_host.xl("dmesg"))
    assert re.search(r"\(d\d+\) runs on kvm: the configuration says so", own_host.xl("dmesg"))
    counts = re.search(r"(\d+) entries, (\d+) system calls", own_host.xl("dmesg"))
    assert counts and int(counts[1]) > int(counts[2]) > 0


def test_xl_info_tells_which_engine_domains_get(own_host: Host) -> None:
    deadline = time.monotonic() + 30
    while (report := own_host.xl("info", "engines").strip()) == "not measured yet":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    native = "ring 0 native" in report and "without Xen's hypercalls" not in report
    assert re.match(
        rf"hvm {'kvm' if native else 'unicorn'}, pv (unicorn|kvm); "
        "(kvm if asked for: ring 0|no kvm: )",
        report,
    )
