"""Domains on a KVM whose kernel mode is native: in a virtual machine whose AMD-V QEMU emulates.

Each test boots a machine and does in it what a user would; see machine.py. Run by make test-nested.
"""

from __future__ import annotations

import re

import pytest

from .conftest import Nested

pytestmark = pytest.mark.nested


@pytest.mark.parametrize("area", ["engine", "guest", "system"])
def test_the_tests_of_kvm_pass_where_kernel_mode_is_native(nested: Nested, area: str) -> None:
    outcome = nested.run(
        f"python -m pytest -v -p no:cacheprovider tests/{area}/test_kvm*.py", limit=1200
    )
    assert outcome.status == 0
    # Tests that skip because there is no KVM to use would pass as well.
    assert "PASSED" in outcome.console


def test_xl_info_says_that_kernel_mode_is_native(nested: Nested) -> None:
    outcome = nested.run(
        "while xl info engines | grep 'not measured yet'; do sleep 1; done; xl info engines",
        limit=300,
    )
    assert re.search(r"ring 0 native, [\d.]+ million instructions/s", outcome.console)


@pytest.mark.parametrize("kind", ["pvh", "pv"])
def test_debians_kernel_reaches_user_space_on_kvm(nested: Nested, kind: str) -> None:
    """What make run does, with one vCPU; the guest's first words are on the console, too."""
    settings = (
        f's/"pvh"/"{kind}"/; s/vcpus = 2/vcpus = 1/; s/extra = "/extra = "earlyprintk=xen /; '
        '$aengine = "kvm"'
    )
    outcome = nested.run(
        f"sed '{settings}' examples/debian.cfg >examples/nested.cfg\n"
        "python -m xenolith.cli.demo examples/nested.cfg || { xl dmesg; false; }",
        limit=600,
    )
    assert outcome.status == 0
    assert "XENOLITH: user space is up" in outcome.console
    assert "unchecked MSR access" not in outcome.console
