"""What the daemon does for its clients: one function for each method of client.Toolstack."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from xenolith.toolstack import paths, rpc
from xenolith.toolstack.config import DomainConfig
from xenolith.toolstack.config.load import answer
from xenolith.toolstack.config_source import ConfigSource
from xenolith.toolstack.daemon import (
    affinity,
    bootloader,
    consoles,
    creation,
    debug_keys,
    ending,
    host_info,
    lifecycle,
    xenstore_layout,
)
from xenolith.toolstack.daemon.cpu_verbs import CPU_VERBS, CPUS_OF_A_DOMAIN
from xenolith.toolstack.daemon.device_verbs import DEVICE_VERBS
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.domain_table import DOM0_NAME
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.daemon.guest_verbs import GUEST_VERBS, hand_out_socket
from xenolith.toolstack.daemon.parameters import content, number, text, texts
from xenolith.toolstack.failures import reason
from xenolith.toolstack.rpc_loop import Request
from xenolith.xenstore.errors import XenstoreError

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon


def serve(daemon: Daemon, request: Request) -> None:
    """Answer one request of a client, now or later."""
    try:
        if request.method in _VERBS or request.method in _OF_A_DOMAIN:
            _run(daemon, request)
        else:
            request.fail(f"The daemon knows no {request.method}", rpc.METHOD_NOT_FOUND)
    finally:
        rpc.close_all(request.fds)


def _run(daemon: Daemon, request: Request) -> None:
    try:
        if request.method in _VERBS:
            _VERBS[request.method](daemon, request)
        elif (domain := _domain(daemon, request)).building:
            domain.when_built(lambda: _run(daemon, request))
        else:
            _OF_A_DOMAIN[request.method](daemon, domain, request)
    except DaemonError as error:
        request.fail(str(error))
    except (OSError, XenstoreError) as error:
        request.fail(f"{request.method.replace('_', '-')} failed: {reason(error)}")
    except (KeyError, TypeError, ValueError) as error:
        request.fail(f"{request.method}: bad parameter {error}", rpc.INVALID_PARAMS)
    except Exception:
        request.fail(f"{request.method} met a bug of the daemon, see {paths.daemon_log()}")
        raise


def _domain(daemon: Daemon, request: Request) -> Domain:
    return daemon.table.by_domid(number(request, "domid"))


def _load_config(_daemon: Daemon, request: Request) -> None:
    source = ConfigSource(
        content(request, "text"),
        content(request, "name"),
        texts(request, "overrides"),
        texts(request, "directories"),
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
    paused = request.params["paused"] is True
    domid = creation.create(daemon, config, created, paused=paused, screen=_screen(request))
    domain = daemon.table.by_domid(domid)
    request.when_abandoned(lambda: creation.abandon(daemon, domain))


def _screen(request: Request) -> bootloader.Screen | None:
    """The terminal of whoever creates a domain, for the menu of its boot loader."""
    if not request.fds:
        return None
    return bootloader.Screen(request.fds[0], number(request, "columns"), number(request, "rows"))


def _list(daemon: Daemon, request: Request) -> None:
    request.reply(
        [
            host_info.domain_0(daemon.cpupools.first.name),
            *(domain.info() for domain in daemon.table),
        ]
    )


def _config(daemon: Daemon, request: Request) -> None:
    request.reply(_domain(daemon, request).config.to_dict())


def _resolve(daemon: Daemon, request: Request) -> None:
    request.reply(_resolved(daemon, text(request, "domain")))


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


def _info(daemon: Daemon, request: Request) -> None:
    free_cpus = str(len(daemon.cpupools.free_cpus))
    request.reply(host_info.info() | {"free_cpus": free_cpus, "engines": daemon.zygote.engines})


def _vcpus(daemon: Daemon, request: Request) -> None:
    if number(request, "domid") == 0:
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


def _destroy(daemon: Daemon, request: Request) -> None:
    domain = _domain(daemon, request)
    domain.restart = None
    domain.when_gone(request.reply)
    ending.destroy(daemon, domain)


def _rename(daemon: Daemon, request: Request) -> None:
    domain, name = _domain(daemon, request), text(request, "name")
    if name != domain.name:
        daemon.table.check_name(name)
        domain.change(name=name)
        xenstore_layout.rename(daemon.store, domain.domid, domain.config)
    request.reply()


def _console_of(daemon: Daemon, request: Request) -> None:
    wanted = text(request, "domain")
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
        hand_out_socket(domain, request, "console")


def _dmesg(daemon: Daemon, request: Request) -> None:
    request.reply(daemon.hypervisor_log.read())


def _clear_dmesg(daemon: Daemon, request: Request) -> None:
    text = daemon.hypervisor_log.read()
    daemon.hypervisor_log.clear()
    request.reply(text)


def _debug_keys(daemon: Daemon, request: Request) -> None:
    debug_keys.press(daemon, text(request, "keys"))
    request.reply()


def _wait(daemon: Daemon, request: Request) -> None:
    domid = number(request, "domid")
    end = daemon.table.end_of(domid)
    if end is not None:
        request.reply(end)
        return
    domain = daemon.table.by_domid(domid)
    domain.add_waiter(request)
    if domain.preserved:
        lifecycle.report_preserved(domain, None)


_VERBS: dict[str, Callable[[Daemon, Request], None]] = {
    "load_config": _load_config,
    "create": _create,
    "list": _list,
    "config": _config,
    "resolve": _resolve,
    "info": _info,
    "vcpus": _vcpus,
    "destroy": _destroy,
    "rename": _rename,
    "console_of": _console_of,
    "dmesg": _dmesg,
    "clear_dmesg": _clear_dmesg,
    "debug_keys": _debug_keys,
    "wait": _wait,
    **CPU_VERBS,
}

_OF_A_DOMAIN = GUEST_VERBS | DEVICE_VERBS | CPUS_OF_A_DOMAIN
"""The verbs that are about one domain and wait until it is built."""
