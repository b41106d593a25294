"""What the daemon has guests and their processes do for its clients: methods of client.Toolstack.

All of them wait until the domain is built.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from xenolith.toolstack import rpc
from xenolith.toolstack.daemon import xenstore_layout
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.daemon.parameters import number, text
from xenolith.toolstack.rpc_loop import Request

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon


def check_live(domain: Domain) -> None:
    """DaemonError unless the domain's guest still runs."""
    if domain.shutdown_reason is not None:
        raise DaemonError(f"Domain {domain.domid} has shut down")


def _shutdown(daemon: Daemon, domain: Domain, request: Request) -> None:
    # A guest that has shut down has done what it is asked.
    if domain.shutdown_reason is None:
        xenstore_layout.request_shutdown(daemon.store, domain.domid, "poweroff")
    request.reply()


def _reboot(daemon: Daemon, domain: Domain, request: Request) -> None:
    check_live(domain)
    xenstore_layout.request_shutdown(daemon.store, domain.domid, "reboot")
    request.reply()


def _sysrq(daemon: Daemon, domain: Domain, request: Request) -> None:
    check_live(domain)
    letter = text(request, "letter")
    if len(letter) != 1 or not letter.isascii() or not letter.isprintable():
        raise DaemonError(f"{letter!r} is not a SysRq key")
    xenstore_layout.press_sysrq(daemon.store, domain.domid, letter)
    request.reply()


def _pause(_daemon: Daemon, domain: Domain, request: Request) -> None:
    _forward(domain, request, "pause", {})


def _unpause(_daemon: Daemon, domain: Domain, request: Request) -> None:
    _forward(domain, request, "unpause", {})


def _trigger(daemon: Daemon, domain: Domain, request: Request) -> None:
    check_live(domain)
    name = text(request, "name")
    if name != "power":
        params = {"name": name, "vcpu": number(request, "vcpu")}
        _forward(domain, request, "trigger", params)
        return
    # The button's interrupt would need an IO-APIC, which PVH does without.
    xenstore_layout.request_shutdown(daemon.store, domain.domid, "poweroff")
    request.reply(
        f"Domain {domain.domid} has no ACPI power button: "
        "its kernel was asked to power off through xenstore"
    )


def _set_memory_target(daemon: Daemon, domain: Domain, request: Request) -> None:
    check_live(domain)
    kib, limit = number(request, "kib"), domain.status.max_memory_kib
    if not 0 < kib <= limit:
        raise DaemonError(f"Domain {domain.domid} may have {limit >> 10} MiB at most")
    xenstore_layout.set_memory_target(daemon.store, domain.domid, kib)
    request.reply()


def _set_max_memory(daemon: Daemon, domain: Domain, request: Request) -> None:
    check_live(domain)
    kib = number(request, "kib")
    if kib <= 0:
        raise DaemonError("A domain needs memory")

    def limited() -> None:
        xenstore_layout.set_max_memory(daemon.store, domain.domid, kib)
        request.reply()

    _forward(domain, request, "set_max_memory", {"kib": kib}, then=limited)


def _console(_daemon: Daemon, domain: Domain, request: Request) -> None:
    hand_out_socket(domain, request, "console")


def _strace(_daemon: Daemon, domain: Domain, request: Request) -> None:
    hand_out_socket(domain, request, "trace")


def _dump_core(_daemon: Daemon, domain: Domain, request: Request) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    fd = os.open(text(request, "path"), flags, 0o600)
    _forward(domain, request, "dump_core", {}, [fd])


def hand_out_socket(domain: Domain, request: Request, method: str) -> None:
    """Have the domain's process serve one end of a socket, and give the client the other."""
    ours, theirs = socket.socketpair()
    fd = ours.detach()

    def served() -> None:
        request.reply(None, [fd])

    _forward(domain, request, method, {}, [theirs.detach()], served, [fd])


def _forward(
    domain: Domain,
    request: Request,
    method: str,
    params: rpc.Body,
    fds: Sequence[int] = (),
    then: Callable[[], None] | None = None,
    on_failure_close: Sequence[int] = (),
) -> None:
    """Have the domain's process do something; then call ``then``, or just confirm it."""

    def answered(result: Any, _fds: list[int]) -> None:
        if not isinstance(result, Exception):
            (then or request.reply)()
            return
        rpc.close_all(on_failure_close)
        gone = isinstance(result, rpc.ProtocolError)
        request.fail(f"Domain {domain.domid} has ended" if gone else str(result))

    if domain.connection is None or domain.process_ended:
        rpc.close_all([*fds, *on_failure_close])
        raise DaemonError(f"Domain {domain.domid} has lost its process")
    domain.connection.call(method, params, answered, fds)


GUEST_VERBS: dict[str, Callable[[Daemon, Domain, Request], None]] = {
    "shutdown": _shutdown,
    "reboot": _reboot,
    "sysrq": _sysrq,
    "pause": _pause,
    "unpause": _unpause,
    "trigger": _trigger,
    "set_memory_target": _set_memory_target,
    "set_max_memory": _set_max_memory,
    "console": _console,
    "strace": _strace,
    "dump_core": _dump_core,
}
