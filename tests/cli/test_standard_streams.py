"""Programs that are started without standard streams, or with a full disk behind them."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAMS = pytest.mark.parametrize(
    "arguments", ["cli.xl help", "cli.vhd help", "cli.vhd_util help", "cli.xenstore ls -h"]
)


def run(arguments: str, redirection: str) -> subprocess.CompletedProcess[str]:
    command = f"{sys.executable} -m xenolith.{arguments} {redirection}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)


@PROGRAMS
@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_failure(arguments: str, redirection: str) -> None:
    done = run(arguments, redirection)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (">&-" not in redirection.replace("2>&-", ""))


@PROGRAMS
def test_a_full_disk_is_one_sentence(arguments: str) -> None:
    done = run(arguments, "> /dev/full")
    assert done.returncode == 1
    assert done.stderr.endswith("No space left on device\n")
    assert done.stderr.count("\n") == 1
