"""The xen_version hypercall: what the hypervisor says about itself.

Mirrors public/version.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import U32, ULONG, Layout

HEADER = "version.h"


@c_constants("XENVER_")
class VersionOp(IntEnum):
    """First argument of xen_version."""

    version = 0
    extraversion = 1
    compile_info = 2
    capabilities = 3
    changeset = 4
    platform_parameters = 5
    get_features = 6
    pagesize = 7
    guest_handle = 8
    commandline = 9
    build_id = 10


XEN_EXTRAVERSION_LEN = 16
XEN_CAPABILITIES_INFO_LEN = 1024
XEN_CHANGESET_INFO_LEN = 64


class XenCommandline(NamedTuple):
    """The hypervisor's command line, NUL-terminated."""

    text: Annotated[bytes, "1024s"]


XEN_COMMANDLINE = Layout(XenCommandline)


class XenCompileInfo(NamedTuple):
    """Who compiled the hypervisor, where, when and with what; NUL-terminated strings."""

    compiler: Annotated[bytes, "64s"]
    compile_by: Annotated[bytes, "16s"]
    compile_domain: Annotated[bytes, "32s"]
    compile_date: Annotated[bytes, "32s"]


XEN_COMPILE_INFO = Layout(XenCompileInfo, "struct xen_compile_info", HEADER)


class XenPlatformParameters(NamedTuple):
    """Where the hypervisor's hole in the address space begins."""

    virt_start: ULONG


XEN_PLATFORM_PARAMETERS = Layout(XenPlatformParameters, "struct xen_platform_parameters", HEADER)


class XenFeatureInfo(NamedTuple):
    """32 feature bits (features.py), selected by ``submap_idx``."""

    submap_idx: U32
    submap: U32


XEN_FEATURE_INFO = Layout(XenFeatureInfo, "struct xen_feature_info", HEADER)


class XenBuildId(NamedTuple):
    """The head of a build id; ``len`` bytes of it follow."""

    len: U32


XEN_BUILD_ID = Layout(XenBuildId, "struct xen_build_id", HEADER)
