"""Domains on a KVM whose kernel mode is native: in a virtual machine whose AMD-V QEMU emulates.

Each test boots a machine and does in it what a user would; see machine.py. Run by make test-nested.
"""

from __future__ import annotations

import re

import pytest

from .conftest import Nested

pytestmark = pytest.mark.nested

_TESTS_OF_KVM = (
    "tests/engine/test_kvm_api.py",
    "tests/engine/test_kvm_hvm.py",
    "tests/guest/test_kvm_corners.py",
    "tests/system/test_kvm.py",
)


def test_the_tests_of_kvm_pass_where_kernel_mode_is_native(nested: Nested) -> None:
    outcome = nested.run(
        f"python -m pytest -v -p no:cacheprovider {' '.join(_TESTS_OF_KVM)}", limit=900
    )
    assert outcome.status == 0
    # Tests that skip because there is no KVM to use would pass too.
    assert not re.search(r"\d+ skipped", outcome.console)


def test_xl_info_says_that_kernel_mode_is_native(nested: Nested) -> None:
    outcome = nested.run(
        "while xl info engines | grep 'not measured yet'; do sleep 1; done; xl info engines",
        limit=120,
    )
    assert re.search(r"ring 0 native, [\d.]+ million instructions/s", outcome.console)


@pytest.mark.xfail(reason="needs KVM's own support for Xen, or PV on KVM", strict=True)
@pytest.mark.parametrize("kind", ["pvh", "pv"])
def test_debians_kernel_reaches_user_space_on_kvm(nested: Nested, kind: str) -> None:
    """What make run does; where it fails, the guest's first words are on the console."""
    settings = f's/"pvh"/"{kind}"/; s/extra = "/extra = "earlyprintk=xen /; $aengine = "kvm"'
    outcome = nested.run(
        f"sed '{settings}' examples/debian.cfg >examples/nested.cfg\n"
        "timeout 300 python -m xenolith.cli.demo examples/nested.cfg || { xl dmesg; false; }",
        limit=400,
    )
    assert outcome.status == 0
    assert "XENOLITH: user space is up" in outcome.console
