"""The xenstore nodes of a domain, as libxl makes them (libxl_create.c, libxl_dom.c).

The paths are those of docs/misc/xenstore-paths.pandoc. A guest may read what is about it, and
write where it answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from xenolith.toolstack.config import DomainConfig
from xenolith.toolstack.daemon.cpupools import CpuPool
from xenolith.xenstore import permissions as perms
from xenolith.xenstore.permissions import Permission, Permissions
from xenolith.xenstore.store import Nodes, Store

_READABLE = ("cpu", "memory", "device", "control")
_WRITABLE = (
    "control/shutdown",
    "control/feature-poweroff",
    "control/feature-reboot",
    "control/feature-suspend",
    "control/sysrq",
    "device/suspend/event-channel",
    "data",
    "drivers",
    "feature",
    "attr",
    "error",
)


_BACKENDS = "/local/domain/0/backend"
_POOLS = "/local/pool"


def domain_path(domid: int) -> str:
    """Where a domain's own nodes are."""
    return f"/local/domain/{domid}"


def _libxl_path(domid: int) -> str:
    return f"/libxl/{domid}"


def _vm_path(uuid: str) -> str:
    return f"/vm/{uuid}"


def _console_backend(domid: int) -> str:
    return f"{_BACKENDS}/console/{domid}"


def create(store: Store, domid: int, config: DomainConfig, log: str) -> None:
    """Make the nodes of a new domain, whose console is logged in the file ``log``."""
    readable = (Permission(0, perms.NONE), Permission(domid, perms.READ))
    writable = (Permission(domid, perms.NONE),)
    home, machine = domain_path(domid), _vm_path(config.uuid)
    with store.transaction() as nodes:
        for root, permissions in (
            (home, readable),
            (machine, readable),
            (_libxl_path(domid), perms.DOM0_ONLY),
        ):
            _make(nodes, root, permissions)
        for name in _READABLE:
            _make(nodes, f"{home}/{name}", readable)
        for name in _WRITABLE:
            _make(nodes, f"{home}/{name}", writable)
        for name, value in _values(domid, config):
            nodes.write(f"{home}/{name}", value)
        nodes.write(f"{machine}/uuid", config.uuid)
        nodes.write(f"{machine}/name", config.name)
        nodes.write(f"{machine}/start_time", f"{time.time():.2f}")
        nodes.write(f"{_libxl_path(domid)}/type", config.type)
        _make_console(nodes, domid, log)


def _values(domid: int, config: DomainConfig) -> Iterator[tuple[str, str]]:
    yield "vm", _vm_path(config.uuid)
    yield "name", config.name
    yield "domid", str(domid)
    yield "memory/static-max", str(config.maxmem << 10)
    yield "memory/target", str(config.memory << 10)
    yield "memory/videoram", "0"
    yield "control/platform-feature-multiprocessor-suspend", "1"
    yield "control/platform-feature-xs_reset_watches", "1"
    yield from _availability(config)


def _availability(config: DomainConfig) -> Iterator[tuple[str, str]]:
    for vcpu in range(config.maxvcpus):
        online = vcpu < config.vcpus
        yield f"cpu/{vcpu}/availability", "online" if online else "offline"


def _make_console(nodes: Nodes, domid: int, log: str) -> None:
    """The primary console, which the domain's process serves as xenconsoled would."""
    front, back = f"{domain_path(domid)}/console", f"{_console_backend(domid)}/0"
    readable = (Permission(0, perms.NONE), Permission(domid, perms.READ))
    for path, values in (
        (
            front,
            {
                "backend": back,
                "backend-id": "0",
                "limit": "1048576",
                "type": "xenconsoled",
                "output": "pty",
                "logfile": log,
            },
        ),
        (
            back,
            {
                "frontend": front,
                "frontend-id": str(domid),
                "online": "1",
                "state": "1",
                "protocol": "vt100",
            },
        ),
    ):
        _make(nodes, path, readable)
        for name, value in values.items():
            nodes.write(f"{path}/{name}", value)


def publish_channels(store: Store, domid: int, channels: dict[str, tuple[int, int]]) -> None:
    """Publish where the store's and the console's rings are: (event channel port, frame)."""
    with store.transaction() as nodes:
        for name, (port, frame) in channels.items():
            nodes.write(f"{domain_path(domid)}/{name}/port", str(port))
            nodes.write(f"{domain_path(domid)}/{name}/ring-ref", str(frame))


def rename(store: Store, domid: int, config: DomainConfig) -> None:
    """Publish a domain's new name."""
    with store.transaction() as nodes:
        nodes.write(f"{domain_path(domid)}/name", config.name)
        nodes.write(f"{_vm_path(config.uuid)}/name", config.name)


def preserve(store: Store, domid: int, old: DomainConfig, new: DomainConfig) -> None:
    """Let a domain that has shut down go by another name and UUID, to make room for its heir."""
    readable = (Permission(0, perms.NONE), Permission(domid, perms.READ))
    machine = _vm_path(new.uuid)
    with store.transaction() as nodes:
        _make(nodes, machine, readable)
        nodes.write(f"{machine}/uuid", new.uuid)
        nodes.write(f"{machine}/name", new.name)
        nodes.write(f"{domain_path(domid)}/vm", machine)
        nodes.write(f"{domain_path(domid)}/name", new.name)
        nodes.rm(_vm_path(old.uuid))


def remove(store: Store, domid: int) -> None:
    """Remove every node of a domain that is gone."""
    home = domain_path(domid)
    with store.transaction() as nodes:
        kinds = nodes.directory(_BACKENDS) if nodes.exists(_BACKENDS) else []
        paths = [home, _libxl_path(domid), *(f"{_BACKENDS}/{kind}/{domid}" for kind in kinds)]
        if nodes.exists(f"{home}/vm"):
            paths.append(nodes.read(f"{home}/vm").decode())
        for path in paths:
            if nodes.exists(path):
                nodes.rm(path)


def request_shutdown(store: Store, domid: int, how: str) -> None:
    """Ask the guest to end itself: ``poweroff`` or ``reboot``."""
    store.write(f"{domain_path(domid)}/control/shutdown", how)


def press_sysrq(store: Store, domid: int, letter: str) -> None:
    """Press a magic SysRq key in the guest."""
    store.write(f"{domain_path(domid)}/control/sysrq", letter)


def set_vcpus(store: Store, domid: int, config: DomainConfig) -> None:
    """Tell the guest's CPU hot plug which of its vCPUs are to be online."""
    with store.transaction() as nodes:
        for name, value in _availability(config):
            nodes.write(f"{domain_path(domid)}/{name}", value)


def set_memory_target(store: Store, domid: int, kib: int) -> None:
    """Tell the guest's balloon driver how much memory to leave itself."""
    store.write(f"{domain_path(domid)}/memory/target", str(kib))


def set_max_memory(store: Store, domid: int, kib: int) -> None:
    """Publish how much memory the domain may have."""
    store.write(f"{domain_path(domid)}/memory/static-max", str(kib))


def publish_host(store: Store, name: str) -> None:
    """Make the nodes of domain 0 as Xen's xen-init-dom0 does."""
    with store.transaction() as nodes:
        _settle(nodes, f"{domain_path(0)}/name", name.encode())
        _settle(nodes, f"{domain_path(0)}/domid", b"0")


def publish_cpupools(store: Store, pools: Iterable[CpuPool]) -> None:
    """Make the nodes of all CPU pools what they are now; those that are right already stay as they are."""
    wanted = {
        str(pool.poolid): {"uuid": pool.uuid.encode(), "name": pool.name.encode()} for pool in pools
    }
    with store.transaction() as nodes:
        there = nodes.directory(_POOLS) if nodes.exists(_POOLS) else []
        for poolid in set(there) - set(wanted):
            nodes.rm(f"{_POOLS}/{poolid}")
        for poolid, values in wanted.items():
            for name, value in values.items():
                _settle(nodes, f"{_POOLS}/{poolid}/{name}", value)


def _settle(nodes: Nodes, path: str, value: bytes) -> None:
    """Write a node unless it is right already."""
    if not nodes.exists(path) or nodes.read(path) != value:
        nodes.write(path, value)


def _make(nodes: Nodes, path: str, permissions: Permissions) -> None:
    nodes.mkdir(path)
    nodes.set_permissions(path, permissions)
