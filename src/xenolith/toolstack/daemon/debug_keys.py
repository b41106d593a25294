"""Xen's debug keys (`xl debug-keys`; docs/man/xl.1, xen/common/keyhandler.c): each writes to the log.

They tell what the daemon knows of its domains, from their status pages and without asking anybody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from xenolith.toolstack.daemon import host_info
from xenolith.toolstack.daemon.errors import DaemonError

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon

_REBOOT = "R"


class _Key(NamedTuple):
    description: str
    lines: Callable[[Daemon], Iterator[str]]


def press(daemon: Daemon, keys: str) -> None:
    """Press each key; one that has no meaning does nothing. DaemonError for what is not ours to do."""
    if _REBOOT in keys:
        raise DaemonError(
            f"Key {_REBOOT} would reboot the machine, which is the host's own: nothing was done"
        )
    for key in keys:
        if key in _KEYS:
            daemon.hypervisor_log.add(f"(XEN) '{key}' pressed -> {_KEYS[key].description}")
            for line in _KEYS[key].lines(daemon):
                daemon.hypervisor_log.add(f"(XEN) {line}")


def _help(_daemon: Daemon) -> Iterator[str]:
    for key, (description, _) in sorted(_KEYS.items()):
        yield f" key '{key}' (ascii '{ord(key):02x}') => {description}"


def _domains(daemon: Daemon) -> Iterator[str]:
    for domain in daemon.table:
        info = domain.info()
        yield f"General information for domain {domain.domid}:"
        yield f"    name={domain.name} handle={info.uuid} process={domain.pid or '-'}"
        yield (
            f"    paused={info.paused:d} dying={info.dying:d} building={domain.building:d} "
            f"shutdown={'-' if info.shutdown_reason is None else info.shutdown_reason} "
            f"age={time.time() - domain.created:.0f} s"
        )
        yield f"    memory={info.memory_kib} KiB max={info.max_memory_kib} KiB"
        yield "VCPU information:"
        for vcpu, status in enumerate(domain.status.vcpus):
            yield f"    VCPU{vcpu}: {status.state.name}, has run {status.run_time_ns / 1e9:.3f} s"


def _memory(daemon: Daemon) -> Iterator[str]:
    for key in ("total_memory", "free_memory"):
        yield f"    {key}={host_info.info()[key]} MiB"
    held = sum(domain.status.memory_kib for domain in daemon.table)
    yield f"    domains={len(list(daemon.table))} memory of domains={held >> 10} MiB"


_KEYS = {
    "h": _Key("show installed handlers", _help),
    "m": _Key("memory info", _memory),
    "q": _Key("dump domain (and guest debug) info", _domains),
}
