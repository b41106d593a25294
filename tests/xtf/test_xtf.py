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
            "cpuid example msr pv-iopl~hypercall rtm-check selftest xsa-122 xsa-182 xsa-188 "
            "xsa-193 xsa-212 xsa-213 xsa-221 xsa-224 xsa-227 xsa-231 xsa-232 xsa-234 xsa-259 "
            "xsa-265 xsa-279 xsa-286 xsa-296 xsa-316 xsa-317 xsa-333 xsa-339 xsa-7"
        ),
        "SKIP": (
            "argo cpuid-faulting livepatch-priv-check pv-fsgsbase pv-iopl~vmassist xsa-167 xsa-444"
        ),
        "FAILURE": "debug-regs memop-seg xsa-255 xsa-298",
        "ERROR": "xsa-260",
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
