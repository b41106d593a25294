"""A network interface of a domain: what its two ends are told in xenstore, and how its backend is made.

The nodes are those of public/io/netif.h and of libxl__set_xenstore_nic (libxl_nic.c).
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Sequence

from xenolith.backends.io_thread import IoThread
from xenolith.backends.net import Attachment, VifBackend, token_bucket
from xenolith.backends.xenbus import Guest
from xenolith.net.wire import MessageWire, StreamWire, Wire
from xenolith.toolstack.config.nic import NicConfig
from xenolith.toolstack.rpc import Body

KIND = "vif"

STREAM, MESSAGES = "stream", "messages"
"""The wires that a backend is given: passt's, or that of switches and taps."""

_XEN_OUI = "00:16:3e"
_SCRIPT = "/etc/xen/scripts/vif-bridge"
"""What libxl writes where no script is named; none is ever run."""
_MAX_QUEUES = 8


def default_mac(uuid: str, devid: int) -> str:
    """An address in Xen's own range that the domain keeps as long as its UUID."""
    tail = hashlib.sha256(f"{uuid}/{devid}".encode()).digest()[:3]
    return ":".join([_XEN_OUI, *(f"{octet:02x}" for octet in tail)])


def frontend_nodes(nic: NicConfig, devid: int) -> dict[str, str]:
    """What the guest's driver is told; the address must be chosen."""
    nodes = {"handle": str(devid), "mac": nic.mac or "", "trusted": str(int(nic.trusted))}
    if nic.mtu is not None:
        nodes["mtu"] = str(nic.mtu)
    return nodes


def backend_nodes(nic: NicConfig, devid: int) -> dict[str, str]:
    """What the backend's directory says of the interface."""
    nodes = {
        "handle": str(devid),
        "mac": nic.mac or "",
        "type": "vif",
        "script": nic.script or _SCRIPT,
        "trusted": str(int(nic.trusted)),
        # What hotplug scripts write when they are done.
        "hotplug-status": "connected",
    }
    for name, value in (
        ("bridge", nic.bridge),
        ("ip", nic.ip),
        ("vifname", nic.vifname),
        ("vlan", nic.vlan),
        ("gatewaydev", nic.gatewaydev),
        ("mtu", nic.mtu),
    ):
        if value is not None:
            nodes[name] = str(value)
    if nic.rate_bytes_per_interval is not None:
        nodes["rate"] = f"{nic.rate_bytes_per_interval},{nic.rate_interval_usecs}"
    return nodes


def settings(nic: NicConfig, devid: int, vcpus: int, wire: str) -> Body:
    """What :func:`make_vif` is to be given, besides the wire's descriptor."""
    return {
        "devid": devid,
        "wire": wire,
        "queues": min(vcpus, _MAX_QUEUES),
        "rate": [nic.rate_bytes_per_interval, nic.rate_interval_usecs],
    }


def make_vif(guest: Guest, io: IoThread, settings: Body, fds: Sequence[int]) -> VifBackend:
    """Make the backend of an interface, in the domain's process. I/O thread."""
    per_interval, interval_us = settings["rate"]
    rate = token_bucket(per_interval, interval_us) if per_interval is not None else None
    name = f"vif{guest.domid}.{settings['devid']}"
    attachment = Attachment(io.call_at, rate, lambda line: guest.log(f"{name}: {line}"))
    (fd,) = fds
    wire: Wire = (
        StreamWire(socket.socket(fileno=fd)) if settings["wire"] == STREAM else MessageWire(fd)
    )
    backend = VifBackend(guest, name, attachment, settings["queues"])
    watch = io.watch(wire.fileno())
    guest.post(lambda: attachment.plug(wire, watch))
    return backend
