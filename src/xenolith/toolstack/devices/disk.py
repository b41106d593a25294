"""A disk of a domain: what its two ends are told in xenstore, and what its backend is made with.

The nodes are those of public/io/blkif.h and of libxl's device_disk_add.
"""

from __future__ import annotations

import os
import stat

from xenolith.toolstack.config import DomainType
from xenolith.toolstack.config.disk import DiskConfig, DiskFormat

KIND = "vbd"

_QDISK_FORMATS = {DiskFormat.RAW: "aio"}


def frontend_nodes(disk: DiskConfig, devid: int, guest: DomainType) -> dict[str, str]:
    """What the guest's driver is told."""
    # Linux leaves CD drives to the emulated ones wherever it is not PV, and a PVH guest has none.
    shown_as = "disk" if guest is DomainType.PVH else _device_type(disk)
    return {"virtual-device": str(devid), "device-type": shown_as}


def backend_nodes(disk: DiskConfig) -> dict[str, str]:
    """What the backend's directory says of the disk."""
    return {
        **medium_nodes(disk),
        "removable": _flag(disk.cdrom),
        "bootable": "1",
        "dev": disk.vdev,
        "mode": "w" if disk.writable else "r",
        "device-type": _device_type(disk),
        "specification": disk.specification.value,
        "trusted": _flag(disk.trusted),
        "discard-enable": _flag(disk.discard),
        "direct-io-safe": _flag(disk.direct_io_safe),
    }


def medium_nodes(disk: DiskConfig) -> dict[str, str]:
    """The part of it that changes with the medium in a drive."""
    if disk.target is None:
        return {"type": "qdisk", "params": ""}
    if _is_block_device(disk.target):
        return {"type": "phy", "params": disk.target}
    kind = _QDISK_FORMATS.get(disk.format, disk.format.value)
    return {"type": "qdisk", "params": f"{kind}:{disk.target}"}


def _device_type(disk: DiskConfig) -> str:
    return "cdrom" if disk.cdrom else "disk"


def _flag(value: bool) -> str:
    return str(int(value))


def _is_block_device(path: str) -> bool:
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return False
