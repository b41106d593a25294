"""What Xen's own test guests find here: success, but for what docs/how-to/xtf.md explains.

A guest that looks for what no domain has here skips its test, as it does on a Xen without it.
"""

from __future__ import annotations

import pytest

from .conftest import Framework

pytestmark = pytest.mark.xtf

RESULTS = {
    "pv64": {
        "SUCCESS": (
            "cpuid cpuid-faulting example msr pv-iopl~hypercall rtm-check selftest xsa-122 "
            "xsa-182 xsa-188 xsa-193 xsa-212 xsa-213 xsa-221 xsa-224 xsa-227 xsa-231 "
            "xsa-232 xsa-234 xsa-259 xsa-265 xsa-279 xsa-286 xsa-296 xsa-316 xsa-317 "
            "xsa-333 xsa-339 xsa-7"
        ),
        "SKIP": "argo livepatch-priv-check pv-fsgsbase pv-iopl~vmassist xsa-167 xsa-444",
        "FAILURE": "debug-regs memop-seg xsa-255 xsa-298",
        "ERROR": "xsa-260",
    },
    "hvm64": {
        "SUCCESS": (
            "cpuid debug-regs example invlpg~hap invlpg~shadow lbr-tsx-vmentry lm-ts "
            "memop-seg msr rtm-check selftest xsa-122 xsa-168~shadow xsa-173~shadow xsa-188 "
            "xsa-195 xsa-221 xsa-231 xsa-232 xsa-269 xsa-277 xsa-278 xsa-304 xsa-308 "
            "xsa-317 xsa-454 xsa-463"
        ),
        "SKIP": (
            "argo cpuid-faulting fpu-exception-emulation livepatch-priv-check nested-svm "
            "nested-vmx swint-emulation umip xsa-170 xsa-186 xsa-196 xsa-204 xsa-261 "
            "xsa-451 xsa-462 xsa-470"
        ),
    },
    "hvm32": {
        "SUCCESS": (
            "cpuid debug-regs example invlpg~hap invlpg~shadow lm-ts msr selftest xsa-122 "
            "xsa-188 xsa-192 xsa-239 xsa-317"
        ),
        "SKIP": (
            "argo cpuid-faulting livepatch-priv-check nested-svm nested-vmx swint-emulation "
            "umip xsa-123 xsa-186 xsa-191 xsa-200 xsa-203"
        ),
        "FAILURE": "fep",
        "CRASH": "xsa-472-1 xsa-472-2 xsa-472-3",
    },
    "hvm32pae": {
        "SUCCESS": (
            "cpuid debug-regs example invlpg~hap invlpg~shadow msr nmi-taskswitch-priv "
            "selftest xsa-122 xsa-188 xsa-317 xsa-consoleio-write"
        ),
        "SKIP": "argo cpuid-faulting nested-svm nested-vmx swint-emulation",
        "FAILURE": "memop-seg",
    },
    "hvm32pse": {
        "SUCCESS": "cpuid debug-regs example msr selftest xsa-122 xsa-188 xsa-317",
        "SKIP": "argo cpuid-faulting nested-svm nested-vmx swint-emulation",
    },
}


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        (kind, name, result)
        for kind, results in RESULTS.items()
        for result, names in results.items()
        for name in names.split()
    ],
)
def test_a_guest_says_what_it_finds(
    framework: Framework, kind: str, name: str, expected: str
) -> None:
    result, console = framework.run(kind, name)
    assert result == expected, console
