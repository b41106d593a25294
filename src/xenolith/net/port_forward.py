"""Ports of the host that lead to a guest behind user-mode networking, as a configuration writes them.

``tcp:2222:22``, ``udp:127.0.0.1:5353:53``, ``tcp:8000-8010:80-90``: protocol, perhaps an address of the
host, its ports, the guest's ports.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_FORWARD = re.compile(r"(tcp|udp):(?:(\[[0-9A-Fa-f:.]+\]|[0-9.]+):)?(\d+(?:-\d+)?):(\d+(?:-\d+)?)")
_MAX_PORT = 65535


class PortForward(NamedTuple):
    """Both ranges have the same length; ``address`` is None for all of the host's."""

    protocol: str
    address: str | None
    host_ports: range
    guest_ports: range


def parse_forward(text: str) -> PortForward:
    """Read a forward; ValueError says what is wrong with it."""
    match = _FORWARD.fullmatch(text)
    if not match:
        raise ValueError(f"'{text}' is not a port forward, such as tcp:2222:22")
    protocol, written, host, guest = match.groups()
    address = None
    if written is not None:
        try:
            address = str(ipaddress.ip_address(written.strip("[]")))
        except ValueError:
            raise ValueError(f"'{written}' is not an address of the host") from None
    host_ports, guest_ports = _ports(host), _ports(guest)
    if len(host_ports) != len(guest_ports):
        raise ValueError(f"'{text}' has more ports on one side than on the other")
    return PortForward(protocol, address, host_ports, guest_ports)


def _ports(text: str) -> range:
    first, _, last = text.partition("-")
    ports = range(int(first), int(last or first) + 1)
    if not ports or not ports[0] or ports[-1] > _MAX_PORT:
        raise ValueError(f"'{text}' are not ports")
    return ports
