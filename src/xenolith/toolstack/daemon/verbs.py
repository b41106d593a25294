"""What the daemon does for its clients: one function for each method of client.Toolstack."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from xenolith.toolstack import paths, rpc
from xenolith.toolstack.config import DomainConfig
from xenolith.toolstack.config.load import answer
from xenolith.toolstack.config_source import ConfigSource
from xenolith.toolstack.daemon import (
    affinity,
    consoles,
    creation,
    debug_keys,
    ending,
    host_info,
    lifecycle,
    xenstore_layout,
)
from xenolith.toolstack.daemon.device_verbs import DEVICE_VERBS
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.domain_table import DOM0_NAME
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.rpc_loop import Request
from xenolith.xenstore.errors import XenstoreError

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon


def serve(daemon: Daemon, request: Request) -> None:
    """Answer one request of a client, now or later."""
    rpc.close_all(request.fds)
    if request.method in _VERBS or request.method in DEVICE_VERBS:
        _run(daemon, request)
    else:
        request.fail(f"The daemon knows no {request.method}", rpc.METHOD_NOT_FOUND)


def _run(daemon: Daemon, request: Request) -> None:
    try:
        if request.method in _FOR_ITS_PROCESS and (domain := _domain(daemon, request)).building:
            domain.when_built(lambda: _run(daemon, request))
        elif request.method in DEVICE_VERBS:
            DEVICE_VERBS[request.method](daemon, _domain(daemon, request), request)
        else:
            _VERBS[request.method](daemon, request)
    except DaemonError as error:
        request.fail(str(error))
    except (OSError, XenstoreError) as error:
        request.fail(f"{request.method} failed: {error}")
    except (KeyError, TypeError, ValueError) as error:
        request.fail(f"{request.method}: bad parameter {error}", rpc.INVALID_PARAMS)
    except Exception:
        request.fail(f"{request.method} met a bug of the daemon, see {paths.daemon_log()}")
        raise


def _domain(daemon: Daemon, request: Request) -> Domain:
    return daemon.table.by_domid(_number(request, "domid"))


def _live_domain(daemon: Daemon, request: Request) -> Domain:
    """The domain that a request is about; DaemonError unless its guest still runs."""
    domain = _domain(daemon, request)
    if domain.shutdown_reason is not None:
        raise DaemonError(f"Domain {domain.domid} has shut down")
    return domain


def _number(request: Request, name: str) -> int:
    value = request.params[name]
    if type(value) is not int:
        raise ValueError(name)
    return value


def _text(request: Request, name: str) -> str:
    value = request.params[name]
    if not isinstance(value, str):
        raise ValueError(name)
    return value


def _texts(request: Request, name: str) -> tuple[str, ...]:
    values = request.params[name]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(name)
    return tuple(values)


def _load_config(_daemon: Daemon, request: Request) -> None:
    source = ConfigSource(
        _text(request, "text"),
        _text(request, "name"),
        _texts(request, "overrides"),
        _texts(request, "directories"),
    )
    request.reply(answer(source))


def _create(daemon: Daemon, request: Request) -> None:
    def created(result: int | DaemonError) -> None:
        if isinstance(result, DaemonError):
            request.fail(str(result))
        else:
            request.reply({"domid": result})
            if request.abandoned:
                ending.destroy(daemon, domain)

    config = DomainConfig.from_dict(request.params["config"])
    domid = creation.create(daemon, config, created, paused=request.params["paused"] is True)
    domain = daemon.table.by_domid(domid)
    request.when_abandoned(lambda: creation.abandon(daemon, domain))


def _list(daemon: Daemon, request: Request) -> None:
    request.reply([host_info.domain_0(), *(domain.info() for domain in daemon.table)])


def _config(daemon: Daemon, request: Request) -> None:
    request.reply(_domain(daemon, request).config.to_dict())


def _resolve(daemon: Daemon, request: Request) -> None:
    request.reply(_resolved(daemon, _text(request, "domain")))


def _resolved(daemon: Daemon, wanted: str) -> int:
    # What consists of digits is a domid even where a domain has such a name, as in libxl.
    if wanted == DOM0_NAME or (wanted.isascii() and wanted.isdigit() and int(wanted) == 0):
        return 0
    if wanted.isascii() and wanted.isdigit():
        return daemon.table.by_domid(int(wanted)).domid
    domain = daemon.table.by_name(wanted)
    if domain is None:
        raise DaemonError(f"There is no domain {wanted}")
    return domain.domid


def _info(_daemon: Daemon, request: Request) -> None:
    request.reply(host_info.info())


def _vcpus(daemon: Daemon, request: Request) -> None:
    if _number(request, "domid") == 0:
        request.reply(host_info.domain_0_vcpus())
    else:
        domain = _domain(daemon, request)
        request.reply(
            [
                info._replace(
                    hard_affinity=affinity.show(affinity.of_vcpu(domain.config.cpus, info.vcpu)),
                    soft_affinity=affinity.show(
                        affinity.of_vcpu(domain.config.cpus_soft, info.vcpu)
                    ),
                )
                for info in domain.vcpu_infos()
            ]
        )


def _pin_vcpu(daemon: Daemon, request: Request) -> None:
    domain, params = _domain(daemon, request), request.params
    vcpu = None if params["vcpu"] is None else _number(request, "vcpu")
    hard = None if params["hard"] is None else _text(request, "hard")
    soft = None if params["soft"] is None else _text(request, "soft")
    affinity.pin(domain, vcpu, hard, soft)
    request.reply()


def _destroy(daemon: Daemon, request: Request) -> None:
    domain = _domain(daemon, request)
    domain.restart = None
    domain.when_gone(request.reply)
    ending.destroy(daemon, domain)


def _shutdown(daemon: Daemon, request: Request) -> None:
    domain = _live_domain(daemon, request)
    xenstore_layout.request_shutdown(daemon.store, domain.domid, "poweroff")
    request.reply()


def _reboot(daemon: Daemon, request: Request) -> None:
    domain = _live_domain(daemon, request)
    xenstore_layout.request_shutdown(daemon.store, domain.domid, "reboot")
    request.reply()


def _sysrq(daemon: Daemon, request: Request) -> None:
    domain, letter = _live_domain(daemon, request), _text(request, "letter")
    if len(letter) != 1 or not letter.isascii() or not letter.isprintable():
        raise DaemonError(f"{letter!r} is not a SysRq key")
    xenstore_layout.press_sysrq(daemon.store, domain.domid, letter)
    request.reply()


def _pause(daemon: Daemon, request: Request) -> None:
    _forward(_domain(daemon, request), request, "pause", {})


def _unpause(daemon: Daemon, request: Request) -> None:
    _forward(_domain(daemon, request), request, "unpause", {})


def _trigger(daemon: Daemon, request: Request) -> None:
    domain, name = _live_domain(daemon, request), _text(request, "name")
    if name == "power":
        # The button's interrupt would need an IO-APIC, which PVH does without.
        xenstore_layout.request_shutdown(daemon.store, domain.domid, "poweroff")
        request.reply(
            f"Domain {domain.domid} has no ACPI power button: "
            "its kernel was asked to power off through xenstore"
        )
        return
    params = {"name": name, "vcpu": _number(request, "vcpu")}
    _forward(domain, request, "trigger", params)


def _rename(daemon: Daemon, request: Request) -> None:
    domain, name = _domain(daemon, request), _text(request, "name")
    if name != domain.name:
        daemon.table.check_name(name)
        domain.rename(name)
        xenstore_layout.rename(daemon.store, domain.domid, domain.config)
    request.reply()


def _set_memory_target(daemon: Daemon, request: Request) -> None:
    domain, kib = _live_domain(daemon, request), _number(request, "kib")
    limit = domain.status.max_memory_kib
    if not 0 < kib <= limit:
        raise DaemonError(f"Domain {domain.domid} may have {limit >> 10} MiB at most")
    xenstore_layout.set_memory_target(daemon.store, domain.domid, kib)
    request.reply()


def _set_max_memory(daemon: Daemon, request: Request) -> None:
    domain, kib = _live_domain(daemon, request), _number(request, "kib")
    if kib <= 0:
        raise DaemonError("A domain needs memory")

    def limited() -> None:
        xenstore_layout.set_max_memory(daemon.store, domain.domid, kib)
        request.reply()

    _forward(domain, request, "set_max_memory", {"kib": kib}, then=limited)


def _console(daemon: Daemon, request: Request) -> None:
    _hand_out_socket(_domain(daemon, request), request, "console")


def _console_of(daemon: Daemon, request: Request) -> None:
    wanted = _text(request, "domain")
    try:
        domain = daemon.table.by_domid(_resolved(daemon, wanted))
    except DaemonError:
        if daemon.ended_consoles.find(wanted) is None:
            raise
        consoles.serve_ended(daemon, request, wanted)
        return
    if domain.building:
        domain.when_built(lambda: _run(daemon, request))
    elif domain.dying:
        # Its process may end before it hears of us.
        domain.when_gone(lambda: _run(daemon, request))
    else:
        _hand_out_socket(domain, request, "console")


def _strace(daemon: Daemon, request: Request) -> None:
    _hand_out_socket(_domain(daemon, request), request, "trace")


def _dump_core(daemon: Daemon, request: Request) -> None:
    domain, path = _domain(daemon, request), _text(request, "path")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    _forward(domain, request, "dump_core", {}, [fd])


def _dmesg(daemon: Daemon, request: Request) -> None:
    request.reply(daemon.hypervisor_log.read())


def _clear_dmesg(daemon: Daemon, request: Request) -> None:
    text = daemon.hypervisor_log.read()
    daemon.hypervisor_log.clear()
    request.reply(text)


def _debug_keys(daemon: Daemon, request: Request) -> None:
    debug_keys.press(daemon, _text(request, "keys"))
    request.reply()


def _wait(daemon: Daemon, request: Request) -> None:
    domid = _number(request, "domid")
    end = daemon.table.end_of(domid)
    if end is not None:
        request.reply(end)
        return
    domain = daemon.table.by_domid(domid)
    domain.add_waiter(request)
    if domain.preserved:
        lifecycle.report_preserved(domain, None)


def _hand_out_socket(domain: Domain, request: Request, method: str) -> None:
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


_VERBS: dict[str, Callable[[Daemon, Request], None]] = {
    "load_config": _load_config,
    "create": _create,
    "list": _list,
    "config": _config,
    "resolve": _resolve,
    "info": _info,
    "vcpus": _vcpus,
    "pin_vcpu": _pin_vcpu,
    "destroy": _destroy,
    "shutdown": _shutdown,
    "reboot": _reboot,
    "sysrq": _sysrq,
    "pause": _pause,
    "unpause": _unpause,
    "trigger": _trigger,
    "rename": _rename,
    "set_memory_target": _set_memory_target,
    "set_max_memory": _set_max_memory,
    "console": _console,
    "console_of": _console_of,
    "strace": _strace,
    "dump_core": _dump_core,
    "dmesg": _dmesg,
    "clear_dmesg": _clear_dmesg,
    "debug_keys": _debug_keys,
    "wait": _wait,
}

_FOR_ITS_PROCESS = {
    "pin_vcpu",
    *DEVICE_VERBS,
    "pause",
    "unpause",
    "trigger",
    "set_memory_target",
    "set_max_memory",
    "console",
    "strace",
    "dump_core",
}
"""The verbs that need a domain's process, and so wait until it is built."""
