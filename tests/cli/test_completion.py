"""The completion script, in the shell that it is for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from xenolith.cli.completion import bash

XL = """\
xl() {
    if [[ $1 == cpupool-list ]]; then
        printf 'Name CPUs Sched Active Domain count\\nPool-0 1 credit y 2\\nfast 1 credit y 0\\n'
        return
    fi
    printf 'Name ID Mem VCPUs State Time(s)\\n'
    printf 'Domain-0 0 1 1 r----- 0.0\\ndebian 1 1 1 -b---- 0.0\\n'
}
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("xl cons", ["console"]),
        ("xl mem", ["mem-set", "mem-max"]),
        ("xl -v dest", ["destroy"]),
        ("xl console de", ["debian"]),
        ("xl cpupool-destroy fa", ["fast"]),
        ("xl cpupool-migrate de", ["debian"]),
        ("xl shutdown --w", ["--wait"]),
        ("xl list --js", ["--json"]),
        ("xl create -f deb", ["deb.cfg"]),
        ("xl help vcpu-", ["vcpu-list", "vcpu-pin", "vcpu-set"]),
        ("xl dmesg x", []),
    ],
)
def test_bash(line: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "deb.cfg").touch()
    words = line.split()
    program = f"""{XL}
{bash.script()}
COMP_WORDS=({line})
COMP_CWORD={len(words) - 1}
_xl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "-euc", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.split() == expected
