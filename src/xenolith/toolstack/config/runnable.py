"""What this release cannot do for a domain whose configuration is right."""

from __future__ import annotations

from xenolith.toolstack.config.disk import DiskConfig, DiskSpecification
from xenolith.toolstack.config.domain_config import DomainConfig, DomainType


def refusal(config: DomainConfig) -> str | None:
    """Why the domain cannot be created, for the user; None if that depends on the host alone."""
    if config.type is DomainType.HVM:
        return 'type="hvm" is not supported yet: this release runs type="pv" and type="pvh"'
    if config.bootloader is not None and not config.disk:
        return "bootloader=pygrub needs a disk to look into"
    return next(filter(None, map(refusal_of_disk, config.disk)), None)


def refusal_of_disk(disk: DiskConfig) -> str | None:
    """Why no domain can have this disk; None if that depends on the image alone."""
    if disk.backend not in (None, "0", "Domain-0"):
        return f"{disk.vdev}: disks are served by domain 0 only"
    if disk.script is not None:
        return f"{disk.vdev}: scripts are not run: name a file or a block device"
    if disk.specification is not DiskSpecification.XEN:
        return f"{disk.vdev}: specification={disk.specification} is not supported"
    return None
