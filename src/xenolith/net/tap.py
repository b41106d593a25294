"""Taps of Linux, on a bridge of the host: network interfaces whose other end is a descriptor.

The numbers are those of linux/if_tun.h, linux/if.h and linux/sockios.h. Only root may make them. A tap is
gone when its descriptor is closed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from pathlib import Path

from xenolith.net.errors import NetError
from xenolith.net.frame import HEADER_BYTES

_TUN_DEVICE = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6 = 0x01, 0x02, 0x04

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_SIOCSIFMTU, _SIOCGIFINDEX, _SIOCBRADDIF = 0x8922, 0x8933, 0x89A2
_IFF_UP = 0x1

_NAME_BYTES = 16


def is_bridge(name: str) -> bool:
    """Whether the host has a bridge of this name."""
    return Path("/sys/class/net", name, "bridge").is_dir() if "/" not in name else False


def open_tap(name: str, bridge: str | None, mtu: int | None) -> int:
    """Make a tap, put it on a bridge and set it up; its descriptor, for a MessageWire. NetError."""
    if not 0 < len(name.encode()) < _NAME_BYTES:
        raise NetError(f"'{name}' is not a name for a network interface")
    fd = -1
    try:
        fd = os.open(_TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC)
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", HEADER_BYTES))
        fcntl.ioctl(fd, _TUNSETOFFLOAD, _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            _set_up(sock, name, bridge, mtu)
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        where = f" on bridge {bridge}" if bridge is not None else ""
        raise NetError(f"the tap {name}{where} cannot be made: {error.strerror}") from None
    return fd


def _set_up(sock: socket.socket, name: str, bridge: str | None, mtu: int | None) -> None:
    if mtu is not None:
        fcntl.ioctl(sock, _SIOCSIFMTU, struct.pack("16si20x", name.encode(), mtu))
    _disable_ipv6(name)
    if bridge is not None:
        index = struct.unpack_from("16si", _request(sock, _SIOCGIFINDEX, name))[1]
        fcntl.ioctl(sock, _SIOCBRADDIF, struct.pack("16si20x", bridge.encode(), index))
    flags = struct.unpack_from("16sH", _request(sock, _SIOCGIFFLAGS, name))[1]
    fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags | _IFF_UP))


def _disable_ipv6(name: str) -> None:
    """The host has no address on the guest's cable, as Xen's vif-bridge script has it."""
    with contextlib.suppress(OSError):
        Path("/proc/sys/net/ipv6/conf", name, "disable_ipv6").write_text("1")


def _request(sock: socket.socket, number: int, name: str) -> bytes:
    return fcntl.ioctl(sock, number, struct.pack("16s24x", name.encode()))
