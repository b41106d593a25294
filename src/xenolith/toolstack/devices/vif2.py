"""A network interface that speaks netchannel2: a device of class vif2.

The nodes are those of NetifController2 in xend and libxl_device_net2_add() in libxl, both of Xen 4.0.
"""

from __future__ import annotations

from xenolith.toolstack.config.nic import NicConfig

KIND = "vif2"

_BACKENDS_MAC = "fe:ff:ff:ff:ff:ff"
"""What the end on a bridge has, there as here."""


def frontend_nodes(nic: NicConfig) -> dict[str, str]:
    """What the guest's driver is told; the address must be chosen."""
    nodes = {
        "mac": nic.mac or "",
        "remote-mac": _BACKENDS_MAC,
        "local-trusted": str(int(nic.trusted)),
        "remote-trusted": "1",
        "filter-mac": "0",
    }
    if nic.mtu is not None:
        nodes["mtu"] = str(nic.mtu)
    return nodes


def backend_nodes(nic: NicConfig, devid: int) -> dict[str, str]:
    """What the backend's directory says of the interface."""
    nodes = {
        "handle": str(devid),
        "mac": _BACKENDS_MAC,
        "remote-mac": nic.mac or "",
        "local-trusted": "1",
        "remote-trusted": str(int(nic.trusted)),
        "filter-mac": str(int(nic.filter_mac)),
        "max-bypasses": "0",
        "hotplug-status": "connected",
    }
    if nic.bridge is not None:
        nodes["bridge"] = nic.bridge
    return nodes
