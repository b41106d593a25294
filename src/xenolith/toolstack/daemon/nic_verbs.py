"""What the daemon does about network interfaces for its clients: methods of client.Toolstack."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xenolith.toolstack import rpc
from xenolith.toolstack.daemon import devices, nics
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.parameters import flag, text
from xenolith.toolstack.rpc_loop import Request

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon


def _nics(daemon: Daemon, domain: Domain, request: Request) -> None:
    """List the interfaces, with what has gone over each, which the domain's process knows."""

    def answered(result: Any, _fds: list[int]) -> None:
        if isinstance(result, Exception):
            request.fail(str(result))
        else:
            request.reply(nics.infos(daemon, domain, result))

    devices.connection(domain).call("nic_statistics", {}, answered)


def _attach_nic(daemon: Daemon, domain: Domain, request: Request) -> None:
    nics.attach(daemon, domain, text(request, "nic"), devices.answer(request))


def _detach_nic(daemon: Daemon, domain: Domain, request: Request) -> None:
    force = flag(request, "force")
    nics.detach(daemon, domain, text(request, "nic"), devices.answer(request), force=force)


def _capture_nic(daemon: Daemon, domain: Domain, request: Request) -> None:
    kind, devid = nics.find(daemon, domain, text(request, "nic"))
    process = devices.connection(domain)
    ours, theirs = socket.socketpair()
    fd = ours.detach()

    def answered(result: Any, _fds: list[int]) -> None:
        if isinstance(result, Exception):
            rpc.close_all([fd])
            request.fail(str(result))
        else:
            request.reply(None, [fd])

    params = {"kind": kind, "devid": devid, "settings": {}}
    process.call("change_device", params, answered, [theirs.detach()])


NIC_VERBS: dict[str, Callable[[Daemon, Domain, Request], None]] = {
    "nics": _nics,
    "attach_nic": _attach_nic,
    "detach_nic": _detach_nic,
    "capture_nic": _capture_nic,
}
"""The requests about a domain's interfaces; all need its process, and so wait until it is built."""
