"""`xl network-capture`: what goes over a domain's network interface, as tcpdump and Wireshark read it."""

from __future__ import annotations

import os
import sys

from xenolith.cli import terminal
from xenolith.cli.command import TWO, CommandError, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "network-capture"
SYNOPSIS = "[-w FILE] DOMAIN DEVID|MAC"
HELP = """\
Capture the packets of a network interface
In the format of pcap, from now on until Ctrl-C or the end of the domain; to standard output, as in
xl network-capture DOMAIN 0 | tcpdump -n -r -. An addition to xl.
-w FILE                 Write to this file.
"""
SHORT = "w:"
LONG: dict[str, str] = {}

_CHUNK = 1 << 18


def run(arguments: list[str]) -> int:
    """Write packets until nobody sends or takes them any more."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    domain, nic = options.operands
    path = options.given.get("w")
    if path is None and sys.stdout.isatty():
        raise CommandError("a capture is not for terminals: use -w FILE, or a pipe to tcpdump -r -")
    with Toolstack.connect() as toolstack:
        stream = toolstack.capture_nic(toolstack.resolve(domain), nic)
    fd = 1 if path is None else _create(path)
    with stream:
        while data := stream.recv(_CHUNK):
            terminal.write_all(fd, data)
    return 0


def _create(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandError(f"'{path}' cannot be written: {error.strerror}") from None
