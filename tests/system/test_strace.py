"""xl strace on a running Debian guest."""

from __future__ import annotations

import re
import signal

import pytest

from .host import Host, read_until
from .terminal import Terminal

pytestmark = pytest.mark.guest


def test_hypercalls_and_events_of_a_running_guest_are_shown(host: Host, debian: Terminal) -> None:
    debian.run("true")
    with host.running_xl("strace", "debian") as trace:
        read_until(trace, b"attached to domain")
        debian.run("echo something to print")
        seen = read_until(trace, b"(console)").decode()
        trace.send_signal(signal.SIGINT)
        assert trace.wait(10) == 128 + signal.SIGINT
    assert re.search(r"^ *\d+\.\d{6} v[01] +\w+\(.*\) = 0 <[0-9.]+ us>$", seen, re.MULTILINE)


def test_a_summary_counts_them(host: Host, debian: Terminal) -> None:
    debian.run("{ sleep 0.5; seq 1 200; } & true")
    table = host.xl("strace", "-c", "-n", "100", "debian")
    assert "event_channel_op" in table


def test_the_trace_ends_with_the_domain(host: Host) -> None:
    host.xl("create", "-p", host.config("brief", extra="xenolith.run=true"))
    with host.running_xl("strace", "brief") as trace:
        host.xl("unpause", "brief")
        seen, _ = trace.communicate(timeout=60)
        assert trace.returncode == 0
    assert b"hvm_op" in seen
    assert b"event_channel_op" in seen


def test_an_untraced_guest_goes_on_as_before(host: Host, debian: Terminal) -> None:
    for _ in range(3):
        with host.running_xl("strace", "debian") as trace:
            debian.run("echo traced")
            trace.kill()
    assert debian.run("echo untraced") == "untraced\n"
