"""A network interface of a domain and the strings of ``vif=``, as in xl-network-configuration(5).

Keywords are separated by commas and may be preceded by spaces; the empty string is a NIC with
defaults throughout. ``type=user`` and ``forward=`` are ours: user-mode networking, and the ports of the
host that lead to the guest through it; so is ``protocol=``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from xenolith.net.port_forward import parse_forward


class NicType(StrEnum):
    """Whether an emulated card stands beside the paravirtual one, or what a paravirtual one reaches."""

    VIF = "vif"
    IOEMU = "ioemu"
    USER = "user"


class NicProtocol(StrEnum):
    """What is spoken with the guest's driver."""

    NETIF = "netif"
    NETCHANNEL2 = "netchannel2"


@dataclass(frozen=True, slots=True, kw_only=True)
class NicConfig:
    """One network interface as the configuration describes it; None is for the toolstack to say."""

    mac: str | None = None
    bridge: str | None = None
    gatewaydev: str | None = None
    ip: str | None = None
    script: str | None = None
    backend: str | None = None
    vifname: str | None = None
    type: NicType | None = None
    model: str | None = None
    rate_bytes_per_interval: int | None = None
    rate_interval_usecs: int | None = None
    devid: int | None = None
    mtu: int | None = None
    vlan: str | None = None
    trusted: bool = True
    protocol: NicProtocol = NicProtocol.NETIF
    filter_mac: bool = False
    """What the guest sends from another address is dropped; of netchannel2 only."""
    forward: tuple[str, ...] = ()
    """Ports of the host, each as net.port_forward.parse_forward() reads it."""


_MAC = re.compile(r"[0-9A-Fa-f]{1,2}(?::[0-9A-Fa-f]{1,2}){5}")
_RATE = re.compile(r"([0-9]+)([GMK]?)([Bb])/s(?:@([0-9]+)(m?s|us?|m)?)?")
_VLAN = re.compile(r"\d+(?:-\d+|\+\d+x\d+)?[pu]?(?:/\d+(?:-\d+|\+\d+x\d+)?[pu]?)*")
_SCALE = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}
_MICROSECONDS = {None: 10**6, "s": 10**6, "m": 1000, "ms": 1000, "u": 1, "us": 1}
_DEFAULT_INTERVAL = 50_000
_MAX = (1 << 32) - 1

_AS_WRITTEN = ("bridge", "gatewaydev", "ip", "script", "backend", "vifname", "model")


def parse_nic(specification: str) -> NicConfig:
    """The NIC that one string of ``vif=`` describes; ValueError says what is wrong with it."""
    values: dict[str, str | int | bool | tuple[str, ...]] = {}
    forwards: list[str] = []
    for parameter in specification.split(","):
        word = parameter.strip(" ")
        if not word:
            continue
        key, equals, value = word.partition("=")
        if word in ("trusted", "untrusted"):
            values["trusted"] = word == "trusted"
        elif not equals:
            raise ValueError(f"'{word}' is not of the form keyword=value")
        elif key == "netdev":
            values["gatewaydev"] = value
        elif key == "forward":
            parse_forward(value)
            forwards.append(value)
        elif key in _AS_WRITTEN:
            values[key] = value
        else:
            values |= _checked(key, value)
    nic = NicConfig(**values, forward=tuple(forwards))  # type: ignore[arg-type]
    if nic.bridge is not None and (nic.type is NicType.USER or forwards):
        raise ValueError("user-mode networking and its port forwards have no bridge")
    return nic


def _checked(key: str, value: str) -> dict[str, str | int]:
    match key:
        case "mac":
            return {"mac": _mac(value)}
        case "type":
            if value not in list(NicType):
                raise ValueError(f"unknown type '{value}' (use vif, user or ioemu)")
            return {"type": NicType(value)}
        case "protocol":
            if value not in list(NicProtocol):
                raise ValueError(f"unknown protocol '{value}' (use netif or netchannel2)")
            return {"protocol": NicProtocol(value)}
        case "rate":
            return _rate(value)
        case "devid":
            return {"devid": _number(key, value, 0)}
        case "mtu":
            return {"mtu": _number(key, value, 68)}
        case "vlan":
            if not _VLAN.fullmatch(value):
                raise ValueError(f"'{value}' is not a list of VLANs")
            return {"vlan": value}
    raise ValueError(f"unknown keyword '{key}'")


def _mac(value: str) -> str:
    if not _MAC.fullmatch(value):
        raise ValueError(f"'{value}' is not a MAC address")
    octets = [int(octet, 16) for octet in value.split(":")]
    if octets[0] & 1:
        raise ValueError(f"'{value}' is a multicast address")
    return ":".join(f"{octet:02x}" for octet in octets)


def _number(key: str, value: str, low: int) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", value) or not low <= int(value) <= _MAX:
        raise ValueError(f"{key} '{value}' is not a number of at least {low}")
    return int(value)


def _rate(value: str) -> dict[str, str | int]:
    match = _RATE.fullmatch(value)
    if not match:
        raise ValueError(f"'{value}' is not a rate, such as 10Mb/s or 1MB/s@20ms")
    amount, scale, unit, interval, interval_unit = match.groups()
    bytes_per_second = int(amount) * _SCALE[scale] // (8 if unit == "b" else 1)
    microseconds = int(interval) * _MICROSECONDS[interval_unit] if interval else _DEFAULT_INTERVAL
    bytes_per_interval = bytes_per_second * microseconds // 1_000_000
    if not 0 < int(amount) <= _MAX or not 0 < microseconds <= _MAX or not bytes_per_interval:
        raise ValueError(f"the rate '{value}' is out of range")
    return {
        "rate_bytes_per_interval": bytes_per_interval,
        "rate_interval_usecs": microseconds,
    }
