"""What the daemon does about network interfaces for its clients: methods of client.Toolstack."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xenolith.toolstack import rpc
from xenolith.toolstack.daemon import devices, nics
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.devices import vif
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

    if domain.connection is None:
        raise DaemonError(f"Domain {domain.domid} has lost its process")
    domain.connection.call("nic_statistics", {}, answered)


def _attach_nic(daemon: Daemon, domain: Domain, request: Request) -> None:
    nics.attach(daemon, domain, _text(request, "nic"), _answer(request))


def _detach_nic(daemon: Daemon, domain: Domain, request: Request) -> None:
    force = request.params["force"] is True
    nics.detach(daemon, domain, _text(request, "nic"), _answer(request), force=force)


def _capture_nic(daemon: Daemon, domain: Domain, request: Request) -> None:
    devid = nics.find(daemon, domain, _text(request, "nic"))
    if domain.connection is None:
        raise DaemonError(f"Domain {domain.domid} has lost its process")
    ours, theirs = socket.socketpair()
    fd = ours.detach()

    def answered(result: Any, _fds: list[int]) -> None:
        if isinstance(result, Exception):
            rpc.close_all([fd])
            request.fail(str(result))
        else:
            request.reply(None, [fd])

    params = {"kind": vif.KIND, "devid": devid, "settings": {}}
    domain.connection.call("change_device", params, answered, [theirs.detach()])


def _answer(request: Request) -> devices.Then:
    def then(error: DaemonError | None) -> None:
        if error is None:
            request.reply()
        else:
            request.fail(str(error))

    return then


def _text(request: Request, name: str) -> str:
    value = request.params[name]
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(name)
    return value


NIC_VERBS: dict[str, Callable[[Daemon, Domain, Request], None]] = {
    "nics": _nics,
    "attach_nic": _attach_nic,
    "detach_nic": _detach_nic,
    "capture_nic": _capture_nic,
}
"""The requests about a domain's interfaces; all need its process, and so wait until it is built."""
