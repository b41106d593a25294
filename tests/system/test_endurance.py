"""Eight guests that work with disks and network for ten minutes: what is read is right, memory stays flat."""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .host import Host
from .terminal import Terminal
from .test_block import vhd_image

pytestmark = [pytest.mark.slow]

GUESTS = 8
SECONDS = int(os.environ.get("XENOLITH_ENDURANCE_S", "600"))
DISK = 64 << 20
GROWTH_KIB = 8192
"""What a process may grow by in the second half: translated code comes and goes."""

WORK = r"""
peer=$1; end=$2; n=0
now() { cut -d. -f1 /proc/uptime; }
expected=$(until wget -q -O - http://$peer/sum; do sleep 1; done)
while [ $(now) -lt $end ]; do
    n=$((n + 1)); at=$((n % 28 * 32))
    head -c 2097152 /dev/urandom > /tmp/data
    wanted=$(md5sum < /tmp/data)
    dd if=/tmp/data of=/dev/xvda bs=64k seek=$at conv=fsync 2>/dev/null || echo "BAD write $n"
    echo 3 > /proc/sys/vm/drop_caches
    got=$(dd if=/dev/xvda bs=64k skip=$at count=32 2>/dev/null | md5sum)
    [ "$wanted" = "$got" ] || echo "BAD disk $n"
    got=$(wget -q -O - http://$peer/data | md5sum)
    [ "$expected" = "$got" ] || echo "BAD network $n"
done
echo "ROUNDS $n OVER"
"""

SERVE = (
    "mkdir -p /www; head -c 1048576 /dev/urandom > /www/data; md5sum < /www/data > /www/sum; "
    "busybox httpd -p 80 -h /www"
)


@pytest.fixture
def guests(own_host: Host, tmp_path: Path) -> Iterator[list[Terminal]]:
    """Their shells; guest n is 10.9.1.n+1 on a network of theirs, and has a VHD."""
    with ExitStack() as stack:
        terminals = []
        for number in range(GUESTS):
            name = f"worker-{number}"
            disk = vhd_image(tmp_path / f"{name}.vhd", DISK)
            config = own_host.config(
                name,
                extra="loglevel=3",
                memory=128,
                disk=[f"{disk},vhd,xvda,w"],
                vif=["bridge=all"],
            )
            own_host.xl("create", config)
            terminals.append(stack.enter_context(own_host.terminal("console", name)))
        for number, terminal in enumerate(terminals):
            terminal.wait_for(b"# ", timeout=300)
            terminal.run(f"ip addr add 10.9.1.{number + 1}/24 dev eth0; ip link set eth0 up")
            _type_in(terminal, WORK, "/tmp/work")
            terminal.run(SERVE)
        yield terminals


def _type_in(terminal: Terminal, text: str, path: str) -> None:
    """Make a file in the guest; busybox takes lines of 1 KiB."""
    encoded = base64.b64encode(text.encode()).decode()
    for start in range(0, len(encoded), 600):
        terminal.run(f"echo {encoded[start : start + 600]} | base64 -d >> {path}")


def resident_kib(host: Host) -> dict[int, int]:
    """The anonymous memory of every process of a host."""
    found = {}
    for pid in host.processes():
        match = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        if match is not None:
            found[pid] = int(match[1])
    return found


def test_eight_guests_work_for_ten_minutes(own_host: Host, guests: list[Terminal]) -> None:
    for number, guest in enumerate(guests):
        uptime = int(float(guest.run("cut -d' ' -f1 /proc/uptime")))
        guest.run(
            f"(sh /tmp/work 10.9.1.{(number ^ 1) + 1} {uptime + SECONDS} > /tmp/result 2>&1 &)"
        )
    time.sleep(SECONDS / 2)
    before = resident_kib(own_host)
    time.sleep(SECONDS / 2)
    after = resident_kib(own_host)
    for guest in guests:
        result = guest.run(
            "while ! grep -q OVER /tmp/result; do sleep 1; done; cat /tmp/result", 120
        )
        rounds = re.fullmatch(r"ROUNDS (\d+) OVER", result.strip())
        assert rounds is not None, result
        assert int(rounds[1]) > SECONDS // 60
        assert guest.run("dmesg | grep -cE 'WARNING|BUG|I/O error|still pending'").split() == ["0"]
    grown = {pid: after[pid] - before[pid] for pid in before if pid in after}
    assert max(grown.values()) < GROWTH_KIB, grown
    assert set(before) == set(after), "processes have come or gone"
