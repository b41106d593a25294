"""A disk of a domain and the strings that describe one, as in xl-disk-configuration(5).

The deprecated forms of xend (``phy:``, ``tap:aio:``, ``file:``, ``vdev:cdrom``...) are understood
as tools/libs/util/libxlu_disk_l.l understands them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

E = TypeVar("E", bound=StrEnum)


class DiskFormat(StrEnum):
    """What an image file holds."""

    RAW = "raw"
    QCOW = "qcow"
    QCOW2 = "qcow2"
    VHD = "vhd"
    QED = "qed"
    VHDX = "vhdx"
    VMDK = "vmdk"
    EMPTY = "empty"


class DiskBackend(StrEnum):
    """Who serves the disk."""

    PHY = "phy"
    TAP = "tap"
    QDISK = "qdisk"
    STANDALONE = "standalone"


class DiskSpecification(StrEnum):
    """What the guest's driver speaks."""

    XEN = "xen"
    VIRTIO = "virtio"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskConfig:
    """One disk as the configuration describes it."""

    vdev: str
    """What the guest calls it, such as ``xvda``."""
    target: str | None = None
    """The image or device; None for an empty drive."""
    format: DiskFormat = DiskFormat.RAW
    writable: bool = True
    cdrom: bool = False
    backendtype: DiskBackend | None = None
    backend: str | None = None
    script: str | None = None
    specification: DiskSpecification = DiskSpecification.XEN
    direct_io_safe: bool = False
    discard: bool = True
    trusted: bool = True


_FLAGS: dict[str, tuple[str, bool]] = {
    "cdrom": ("cdrom", True),
    "direct-io-safe": ("direct_io_safe", True),
    "discard": ("discard", True),
    "no-discard": ("discard", False),
    "trusted": ("trusted", True),
    "untrusted": ("trusted", False),
}

_ACCESS = {"r": False, "ro": False, "w": True, "rw": True, "": True}

_IGNORED_PREFIX = re.compile(r"(?:tapdisk|tap2?|aio|ioemu|file|phy):")
_FORMAT_PREFIX = re.compile(r"(raw|qcow2?|vhd):")
_SCRIPT_PREFIX = re.compile(r"(iscsi|e?nbd|drbd):")
_UNKNOWN_PREFIX = re.compile(r"([a-z][a-z0-9]*):(?:[^a-z0-9]|$)")

_VDEV = re.compile(r"(?:xvd[a-z]{1,4}|sd[a-z]{1,2}|hd[a-z])\d*|d\d+(?:p\d+)?|0x[0-9a-f]+|\d+")
"""The names of xen-vbd-interface(7)."""


def parse_disk(specification: str) -> DiskConfig:
    """The disk that one string of ``disk=`` describes; ValueError says what is wrong with it."""
    return _DiskParser().parse(specification)


class _DiskParser:
    def __init__(self) -> None:
        self._values: dict[str, str | bool] = {}
        self._target: str | None = None
        self._after_prefix = False

    def parse(self, specification: str) -> DiskConfig:
        rest = specification
        while rest := rest.lstrip(" \t\n"):
            if length := self._prefix(rest):
                rest = rest[length:]
            elif rest.startswith("target="):
                self._set_target(rest.removeprefix("target="))
                break
            else:
                parameter, _, rest = rest.partition(",")
                self._parameter(parameter)
        return self._disk()

    def _prefix(self, rest: str) -> int:
        """Take in a deprecated prefix; return its length, 0 if there is none."""
        if match := _IGNORED_PREFIX.match(rest):
            pass
        elif match := _FORMAT_PREFIX.match(rest):
            self._set("format", match[1])
        elif match := _SCRIPT_PREFIX.match(rest):
            self._set("script", f"block-{match[1]}")
        elif match := _UNKNOWN_PREFIX.match(rest):
            raise ValueError(f"unknown prefix '{match[1]}:'")
        else:
            return 0
        self._after_prefix = True
        return match.end()

    def _parameter(self, parameter: str) -> None:
        key, equals, value = parameter.partition("=")
        if not equals:
            if parameter in _FLAGS:
                name, flag = _FLAGS[parameter]
                self._set(name, flag)
            else:
                self._positional(parameter)
        elif key == "access":
            self._set_access(value)
        elif key == "devtype":
            self._set_devtype(value)
        elif key == "format":
            self._set("format", value or DiskFormat.RAW)
        elif key in ("vdev", "script", "backend", "backendtype", "specification"):
            self._set(key, value)
        else:
            raise ValueError(f"unknown parameter '{key}'")

    def _positional(self, value: str) -> None:
        """Positional parameters are target, format, vdev, access: the first not yet given."""
        if self._target is None:
            self._set_target(value)
        elif not self._after_prefix and "format" not in self._values:
            # xend's empty drive: `,hdc:cdrom,r`.
            if self._target == "" and ":" in value:
                self._values["format"] = DiskFormat.EMPTY
                self._vdev(value)
            else:
                self._set("format", value or DiskFormat.RAW)
        elif "vdev" not in self._values:
            self._vdev(value)
        elif "writable" not in self._values:
            self._set_access(value)
        else:
            raise ValueError(f"one parameter too many: '{value}'")

    def _vdev(self, value: str) -> None:
        vdev, colon, devtype = value.rpartition(":")
        if colon:
            self._set_devtype(devtype)
        self._set("vdev", vdev if colon else value)

    def _set_target(self, value: str) -> None:
        if self._target:
            raise ValueError("the target is given twice")
        self._target = value

    def _set_access(self, value: str) -> None:
        if value not in _ACCESS:
            raise ValueError(f"unknown access '{value}' (use r, ro, w or rw)")
        self._set("writable", _ACCESS[value])

    def _set_devtype(self, value: str) -> None:
        if value not in ("cdrom", "disk"):
            raise ValueError(f"unknown devtype '{value}' (use disk or cdrom)")
        self._set("cdrom", value == "cdrom")

    def _set(self, name: str, value: str | bool) -> None:
        if self._values.setdefault(name, value) != value:
            raise ValueError(f"'{name}' is given twice")

    def _disk(self) -> DiskConfig:
        text = {name: value for name, value in self._values.items() if isinstance(value, str)}
        flags = {name: value for name, value in self._values.items() if isinstance(value, bool)}
        vdev, cdrom = text.get("vdev"), flags.get("cdrom", False)
        if not vdev:
            raise ValueError("the vdev is missing")
        if not _VDEV.fullmatch(vdev):
            raise ValueError(f"'{vdev}' is not the name of a virtual disk, such as xvda")
        if not self._target and not cdrom:
            raise ValueError("the target is missing")
        image = _member(DiskFormat, "format", text.get("format") or "raw")
        backendtype = text.get("backendtype")
        return DiskConfig(
            vdev=vdev,
            target=self._target or None,
            format=image if self._target else DiskFormat.EMPTY,
            writable=flags.get("writable", True) and not cdrom,
            cdrom=cdrom,
            backendtype=_member(DiskBackend, "backendtype", backendtype) if backendtype else None,
            backend=text.get("backend") or None,
            script=text.get("script") or None,
            specification=_member(
                DiskSpecification, "specification", text.get("specification") or "xen"
            ),
            direct_io_safe=flags.get("direct_io_safe", False),
            discard=flags.get("discard", True),
            trusted=flags.get("trusted", True),
        )


def _member(kind: type[E], what: str, value: str) -> E:
    if value not in list(kind):
        raise ValueError(f"unknown {what} '{value}' (use one of {', '.join(kind)})")
    return kind(value)
