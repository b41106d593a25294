"""The network interfaces of domains: plugged into their networks, attached, detached and listed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING

from xenolith.net.errors import NetError
from xenolith.toolstack.config import DomainConfig
from xenolith.toolstack.config.nic import NicConfig, NicType, parse_nic
from xenolith.toolstack.config.runnable import refusal_of_nic
from xenolith.toolstack.daemon import devices, nic_recovery
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.devices import nodes, vif
from xenolith.toolstack.networks import Plugged
from xenolith.toolstack.records import DeviceInfo, NicInfo

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon

MAX_NICS = 32


def settled(config: DomainConfig) -> DomainConfig:
    """The configuration with a number and an address for each interface; DaemonError.

    They stay over a restart, and the addresses as long as the domain's UUID.
    """
    nics: list[NicConfig] = []
    for nic in config.vif:
        nics.append(_settled(config, nic, nics, set()))
    return dataclasses.replace(config, vif=tuple(nics))


def attach_all(daemon: Daemon, domain: Domain, then: devices.Then) -> None:
    """Attach every interface of a new domain, one after the other."""
    rest = iter(domain.config.vif)

    def attach_next(error: DaemonError | None) -> None:
        nic = next(rest, None)
        if error is not None or nic is None:
            then(error)
        else:
            _plug_and_attach(daemon, domain, nic, attach_next)

    attach_next(None)


def attach(daemon: Daemon, domain: Domain, text: str, then: devices.Then) -> None:
    """Attach the interface that a string of xl.cfg describes; DaemonError."""
    try:
        nic = parse_nic(text)
    except ValueError as error:
        raise DaemonError(f"{error}, in '{text}'") from None
    # Linux overlooks a device that is gone and there again before it has looked.
    nic = _settled(domain.config, nic, domain.config.vif, domain.nic_numbers)

    def attached(error: DaemonError | None) -> None:
        if error is None:
            _remember(domain, (*domain.config.vif, nic))
        then(error)

    _plug_and_attach(daemon, domain, nic, attached)


def detach(daemon: Daemon, domain: Domain, word: str, then: devices.Then, *, force: bool) -> None:
    """Detach an interface, given by its number or address; ``force``: whatever the guest says."""
    kind, devid = find(daemon, domain, word)

    def detached(error: DaemonError | None) -> None:
        if error is None:
            _remember(domain, tuple(nic for nic in domain.config.vif if nic.devid != devid))
        then(error)

    detach_it = devices.force_detach if force else devices.detach
    detach_it(daemon, domain, kind, devid, detached)


def infos(daemon: Daemon, domain: Domain, statistics: dict[str, list[int]]) -> list[NicInfo]:
    """What is to be seen of a domain's interfaces, by number; ``statistics`` are by number, too."""
    addresses = {nic.devid: nic.mac for nic in domain.config.vif}
    found = []
    for kind in vif.KINDS:
        for device in devices.infos(daemon, domain, kind):
            counted = statistics.get(str(device.devid), [0] * 6)
            mac = addresses.get(device.devid) or ""
            found.append(_info(daemon, kind, device, mac, counted))
    return sorted(found)


def _info(daemon: Daemon, kind: str, device: DeviceInfo, mac: str, counted: list[int]) -> NicInfo:
    front = nodes.frontend_path(device.frontend_domid, kind, device.devid)

    def number(*names: str) -> int:
        for name in names:
            path = f"{front}/{name}"
            text = daemon.store.read(path) if daemon.store.exists(path) else b""
            # The guest may have written anything there.
            if text.isdigit() and len(text) < 10:
                return int(text)
        return -1

    return NicInfo(
        device.devid,
        0,
        mac,
        device.state,
        number("event-channel", "event-channel-tx"),
        number("tx-ring-ref", "queue-0/tx-ring-ref", "prod-gref-0", "queue-0/prod-gref-0"),
        number("rx-ring-ref", "queue-0/rx-ring-ref", "cons-gref-0", "queue-0/cons-gref-0"),
        device.backend,
        nic_recovery.lost(daemon.store, device.backend),
        *counted,
    )


def find(daemon: Daemon, domain: Domain, word: str) -> tuple[str, int]:
    """Class and number of an interface given by its number or its address; DaemonError."""
    for nic in domain.config.vif:
        if word == str(nic.devid) or word.lower() == nic.mac:
            assert nic.devid is not None
            if devices.exists(daemon, domain, vif.kind_of(nic), nic.devid):
                return vif.kind_of(nic), nic.devid
    raise DaemonError(f"Domain {domain.domid} has no network interface {word}")


def _settled(
    config: DomainConfig, nic: NicConfig, others: Sequence[NicConfig], avoided: set[int]
) -> NicConfig:
    why = refusal_of_nic(nic)
    if why is not None:
        raise DaemonError(why)
    if nic.type is NicType.IOEMU:
        nic = dataclasses.replace(nic, type=None)
    taken = {other.devid for other in others}
    devid = nic.devid
    if devid is None:
        devid = next(number for number in count() if number not in taken | avoided)
    elif devid in taken:
        raise DaemonError(f"two network interfaces have the number {devid}")
    if len(taken) >= MAX_NICS:
        raise DaemonError(f"a domain has at most {MAX_NICS} network interfaces")
    mac = nic.mac or vif.default_mac(config.uuid, devid)
    return dataclasses.replace(nic, devid=devid, mac=mac)


def _plug_and_attach(daemon: Daemon, domain: Domain, nic: NicConfig, then: devices.Then) -> None:
    devid = nic.devid or 0
    domain.nic_numbers.add(devid)

    def plugged(result: Plugged | NetError) -> None:
        if isinstance(result, NetError):
            then(DaemonError(f"network interface {devid}: {result}"))
            return
        device = vif.new_vif(nic, devid, domain.config.maxvcpus, result)
        devices.attach(daemon, domain, device, attached)

    def attached(error: DaemonError | None) -> None:
        if error is None:
            nic_recovery.watch(daemon, domain, nic)
        then(error)

    try:
        daemon.networks.plug(nic, f"vif{domain.domid}.{devid}", plugged)
    except NetError as error:
        plugged(error)


def _remember(domain: Domain, nics: tuple[NicConfig, ...]) -> None:
    """Keep what a restart of the domain is to begin with."""
    domain.config = dataclasses.replace(domain.config, vif=nics)
    domain.save()
