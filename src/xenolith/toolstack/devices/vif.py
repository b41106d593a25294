"""A network interface of a domain: what its two ends are told in xenstore, and how its backend is made.

The nodes are those of public/io/netif.h and of libxl__set_xenstore_nic (libxl_nic.c); those of interfaces
that speak netchannel2 are in vif2.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
import socket
from collections.abc import Callable, Sequence

from xenolith.backends.io_thread import IoThread
from xenolith.backends.net import Attachment, Line, VifBackend, token_bucket
from xenolith.backends.net.netchannel2 import Vif2Backend
from xenolith.backends.xenbus import DeviceBackend, Guest, Nodes
from xenolith.net.wire import MessageWire, StreamWire, Wire
from xenolith.toolstack.config.nic import NicConfig, NicProtocol
from xenolith.toolstack.devices import vif2
from xenolith.toolstack.devices.new_device import NewDevice
from xenolith.toolstack.networks import STREAM, Plugged
from xenolith.toolstack.rpc import Body

KIND = "vif"
KINDS = (KIND, vif2.KIND)
"""The classes of devices that are network interfaces; their numbers are all different."""

_XEN_OUI = "00:16:3e"
_SCRIPT = "/etc/xen/scripts/vif-bridge"
"""What libxl writes where no script is named; none is ever run."""
_MAX_QUEUES = 8


def kind_of(nic: NicConfig) -> str:
    """The class of an interface's device."""
    return vif2.KIND if nic.protocol is NicProtocol.NETCHANNEL2 else KIND


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


def new_vif(nic: NicConfig, devid: int, vcpus: int, plugged: Plugged) -> NewDevice:
    """An interface that is plugged in, to be attached; owns the wire."""
    settings: Body = {
        "devid": devid,
        "wire": plugged.wire,
        "queues": min(vcpus, _MAX_QUEUES),
        "rate": [nic.rate_bytes_per_interval, nic.rate_interval_usecs],
        "only_from": nic.mac if nic.filter_mac else None,
    }
    kind = kind_of(nic)
    if kind == vif2.KIND:
        front, back = vif2.frontend_nodes(nic), vif2.backend_nodes(nic, devid)
    else:
        front, back = frontend_nodes(nic, devid), backend_nodes(nic, devid)
    return NewDevice(
        kind=kind, devid=devid, frontend=front, backend=back, settings=settings, fds=[plugged.fd]
    )


def plugged_again(nic: NicConfig, devid: int, plugged: Plugged) -> NewDevice:
    """What changes of an attached interface that is plugged in anew; owns the wire."""
    return NewDevice(
        kind=kind_of(nic),
        devid=devid,
        frontend={},
        backend={},
        settings={"action": "plug", "wire": plugged.wire},
        fds=[plugged.fd],
    )


def make_vif(guest: Guest, io: IoThread, settings: Body, fds: Sequence[int]) -> VifBackend:
    """Make the backend of an interface, in the domain's process. I/O thread."""
    name = f"vif{guest.domid}.{settings['devid']}"
    attachment = _attachment(guest, io, name, settings)
    backend = VifBackend(guest, name, attachment, settings["queues"])
    line = _line(io, settings, fds)
    guest.post(lambda: attachment.plug(line))
    return backend


def make_vif2(guest: Guest, io: IoThread, settings: Body, fds: Sequence[int]) -> Vif2Backend:
    """As make_vif(), of one that speaks netchannel2."""
    name = f"vif{guest.domid}.{settings['devid']}"
    attachment = _attachment(guest, io, name, settings)
    only_from = settings["only_from"]
    own_address = bytes.fromhex(only_from.replace(":", "")) if only_from is not None else None
    backend = Vif2Backend(guest, name, attachment, settings["queues"], own_address)
    line = _line(io, settings, fds)
    guest.post(lambda: attachment.plug(line))
    return backend


def change_vif(
    backend: DeviceBackend, io: IoThread, settings: Body, fds: Sequence[int]
) -> Callable[[Callable[[Nodes], None]], None]:
    """Plug an interface in anew, or have it captured into the descriptor that came with the change."""
    assert isinstance(backend, VifBackend | Vif2Backend)
    attachment = backend.attachment
    if settings.get("action") == "plug":
        line = _line(io, settings, fds)

        def plug(then: Callable[[Nodes], None]) -> None:
            attachment.plug(line)
            then({})

        return plug
    (fd,) = fds

    def capture(then: Callable[[Nodes], None]) -> None:
        attachment.capture(fd)
        then({})

    return capture


def statistics(backend: DeviceBackend) -> list[int]:
    """What has gone over an interface, in the order of records.NicInfo. Hypervisor thread."""
    assert isinstance(backend, VifBackend | Vif2Backend)
    return list(dataclasses.astuple(backend.attachment.statistics))


def _attachment(guest: Guest, io: IoThread, name: str, settings: Body) -> Attachment:
    per_interval, interval_us = settings["rate"]
    rate = token_bucket(per_interval, interval_us) if per_interval is not None else None
    return Attachment(io.call_at, rate, lambda line: guest.log(f"{name}: {line}"))


def _line(io: IoThread, settings: Body, fds: Sequence[int]) -> Line:
    """The line to the network whose descriptor has come with the settings. I/O thread."""
    (fd,) = fds
    wire: Wire = (
        StreamWire(socket.socket(fileno=fd)) if settings["wire"] == STREAM else MessageWire(fd)
    )
    return Line(io, wire)
