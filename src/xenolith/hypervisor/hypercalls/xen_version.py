"""xen_version: what hypervisor this is and what it can do (public/version.h, public/features.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.version import (
    XEN_CAPABILITIES_INFO_LEN,
    XEN_CHANGESET_INFO_LEN,
    XEN_COMMANDLINE,
    XEN_COMPILE_INFO,
    XEN_EXTRAVERSION_LEN,
    XEN_FEATURE_INFO,
    XEN_PLATFORM_PARAMETERS,
    VersionOp,
    XenCompileInfo,
    XenFeatureInfo,
    XenPlatformParameters,
)
from xenolith.hypervisor.guest_access import UINT, read_struct, write_struct
from xenolith.hypervisor.release import (
    XEN_CAPABILITIES,
    XEN_EXTRA_VERSION,
    XEN_MAJOR,
    XEN_MINOR,
)
from xenolith.machine.address import PAGE_SIZE, GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.vcpu import Vcpu


def xen_version(vcpu: Vcpu, cmd: int, argument: int, _a3: int, _a4: int, _a5: int) -> int:
    """xen_version(cmd, arg); command 0 with no argument is also how a guest asks for its events."""
    cmd &= UINT
    if cmd == VersionOp.version:
        return XEN_MAJOR << 16 | XEN_MINOR
    address = GuestVirt(argument)
    match cmd:
        case VersionOp.extraversion:
            return _text(vcpu, address, XEN_EXTRA_VERSION, XEN_EXTRAVERSION_LEN)
        case VersionOp.compile_info:
            info = XenCompileInfo(b"cpython", b"xenolith", b"", b"")
            write_struct(vcpu.paging, XEN_COMPILE_INFO, address, info)
        case VersionOp.capabilities:
            return _text(vcpu, address, XEN_CAPABILITIES, XEN_CAPABILITIES_INFO_LEN)
        case VersionOp.changeset:
            return _text(vcpu, address, "unavailable", XEN_CHANGESET_INFO_LEN)
        case VersionOp.platform_parameters:
            write_struct(vcpu.paging, XEN_PLATFORM_PARAMETERS, address, XenPlatformParameters(0))
        case VersionOp.get_features:
            asked = read_struct(vcpu.paging, XEN_FEATURE_INFO, address)
            features = vcpu.features if asked.submap_idx == 0 else 0
            answer = XenFeatureInfo(asked.submap_idx, features)
            write_struct(vcpu.paging, XEN_FEATURE_INFO, address, answer)
        case VersionOp.pagesize:
            return PAGE_SIZE
        case VersionOp.guest_handle:
            vcpu.paging.copy_to(address, vcpu.domain.handle)
        case VersionOp.commandline:
            vcpu.paging.copy_to(address, bytes(XEN_COMMANDLINE.size))
        case VersionOp.build_id:
            raise XenError(Errno.ENODATA, "there is no build id")
        case _:
            raise XenError(Errno.ENOSYS, f"version operation {cmd}")
    return 0


def _text(vcpu: Vcpu, address: GuestVirt, text: str, size: int) -> int:
    vcpu.paging.copy_to(address, text.encode()[: size - 1].ljust(size, b"\0"))
    return 0
