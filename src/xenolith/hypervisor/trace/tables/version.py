"""xen_version for a trace (public/version.h, public/features.h)."""

from __future__ import annotations

from typing import Any

from xenolith.abi.features import Feature
from xenolith.abi.version import (
    XEN_CAPABILITIES_INFO_LEN,
    XEN_CHANGESET_INFO_LEN,
    XEN_COMMANDLINE,
    XEN_COMPILE_INFO,
    XEN_EXTRAVERSION_LEN,
    XEN_FEATURE_INFO,
    XEN_PLATFORM_PARAMETERS,
    VersionOp,
    XenFeatureInfo,
)
from xenolith.hypervisor.trace import values
from xenolith.hypervisor.trace.decoding import Call, Commands, Look, TextOut
from xenolith.hypervisor.trace.structs import Derive, Struct

_features = values.bits(Feature)


def _version(value: int) -> str:
    return f"{value:#x} ({value >> 16}.{value & 0xFFFF})"


def _submap(info: XenFeatureInfo, _look: Look) -> str:
    return hex(info.submap) if info.submap_idx else _features(info.submap)


def _string(field: str) -> Derive:
    def derive(record: Any, _look: Look) -> str:
        return values.c_string(getattr(record, field))

    return derive


_COMPILE_INFO_FIELDS = tuple(XEN_COMPILE_INFO.offsets)
_COMPILE_INFO = Struct(
    XEN_COMPILE_INFO,
    _COMPILE_INFO_FIELDS,
    derived={field: _string(field) for field in _COMPILE_INFO_FIELDS},
)

XEN_VERSION = Commands(
    VersionOp,
    {
        VersionOp.version: Call(result=_version),
        VersionOp.extraversion: Call(TextOut(1, XEN_EXTRAVERSION_LEN)),
        VersionOp.compile_info: Call(_COMPILE_INFO),
        VersionOp.capabilities: Call(TextOut(1, XEN_CAPABILITIES_INFO_LEN)),
        VersionOp.changeset: Call(TextOut(1, XEN_CHANGESET_INFO_LEN)),
        VersionOp.platform_parameters: Call(Struct(XEN_PLATFORM_PARAMETERS, ("virt_start",))),
        VersionOp.get_features: Call(
            Struct(XEN_FEATURE_INFO, ("submap",), derived={"submap": _submap})
        ),
        VersionOp.pagesize: Call(),
        VersionOp.commandline: Call(TextOut(1, XEN_COMMANDLINE.size)),
    },
)
