"""A domain's process is jailed before it is traced: by then nothing can be imported any more."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from xenolith.hypervisor.trace import domain_trace
from xenolith.hypervisor.trace.decoding import Look
from xenolith.hypervisor.trace.signatures import SIGNATURES

class Access:
    word = 8

    def copy_from(self, address, size):
        return (bytes(range(1, 256)) * (size // 255 + 1))[:size]

sys.meta_path.clear()
for signature in SIGNATURES.values():
    for command in range(64):
        reading = signature.read(Look(Access(), 1), (command, 4096, 8192, 3, 3))
        reading.finish(True), reading.finish(False), reading.result(1)
print("done")
"""


def test_decoding_imports_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.stdout) == ("", "done\n")
