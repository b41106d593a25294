"""What this release cannot do for a domain whose configuration is right."""

from __future__ import annotations

from itertools import chain

from xenolith.toolstack.config.disk import DiskConfig, DiskSpecification
from xenolith.toolstack.config.domain_config import DomainConfig, DomainType
from xenolith.toolstack.config.nic import NicConfig

_BACKENDS = (None, "0", "Domain-0")
"""Ways to say that domain 0 serves a device."""


def refusal(config: DomainConfig) -> str | None:
    """Why the domain cannot be created, for the user; None if that depends on the host alone."""
    if config.type is DomainType.HVM:
        return 'type="hvm" is not supported yet: this release runs type="pv" and type="pvh"'
    if config.bootloader is not None and not config.disk:
        return "bootloader=pygrub needs a disk to look into"
    numbers = [nic.devid for nic in config.vif if nic.devid is not None]
    for number in numbers:
        if numbers.count(number) > 1:
            return f"two network interfaces have the number {number}"
    refusals = chain(map(refusal_of_disk, config.disk), map(refusal_of_nic, config.vif))
    return next(filter(None, refusals), None)


def refusal_of_disk(disk: DiskConfig) -> str | None:
    """Why no domain can have this disk; None if that depends on the image alone."""
    if disk.backend not in _BACKENDS:
        return f"{disk.vdev}: disks are served by domain 0 only"
    if disk.script is not None:
        return f"{disk.vdev}: scripts are not run: name a file or a block device"
    if disk.specification is not DiskSpecification.XEN:
        return f"{disk.vdev}: specification={disk.specification} is not supported"
    return None


def refusal_of_nic(nic: NicConfig) -> str | None:
    """Why no domain can have this network interface; None if that depends on the host alone."""
    if nic.backend not in _BACKENDS:
        return "network interfaces are served by domain 0 only"
    return None
