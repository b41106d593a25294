"""What a domain is to be: the meaning of an xl.cfg(5) file, in its words and units.

The defaults are those of libxl (tools/libs/light/libxl_create.c and tools/xl/xl_parse.c).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from xenolith.toolstack.config.disk import DiskConfig
from xenolith.toolstack.config.nic import NicConfig
from xenolith.toolstack.config.plain import from_plain, to_plain

MIN_MEMORY = 32
"""MiB; also libxl's default where neither memory nor maxmem is given."""

MAX_MEMORY = 1 << 24
"""MiB: 16 TiB, the most that Xen addresses on x86."""

MAX_VCPUS = 128
"""HVM_MAX_VCPUS of public/hvm/hvm_info_table.h."""

MAX_EVENT_CHANNELS = 1 << 17
"""The ports of the FIFO ABI (public/event_channel.h)."""

MAX_GRANT_FRAMES = 4096
"""Frames of 512 version-1 entries: twice what 128 vCPUs with a queue per vCPU and NIC need."""


class DomainType(StrEnum):
    """The kinds of guest."""

    PV = "pv"
    PVH = "pvh"
    HVM = "hvm"


class Action(StrEnum):
    """What becomes of a domain that has shut down."""

    DESTROY = "destroy"
    RESTART = "restart"
    RENAME_RESTART = "rename-restart"
    PRESERVE = "preserve"
    COREDUMP_DESTROY = "coredump-destroy"
    COREDUMP_RESTART = "coredump-restart"
    SOFT_RESET = "soft-reset"


class EngineChoice(StrEnum):
    """What runs the guest's instructions: Xenolith's own key ``engine``."""

    AUTO = "auto"
    UNICORN = "unicorn"
    KVM = "kvm"


class Firmware(StrEnum):
    """What a PV or PVH guest runs instead of a kernel: GRUB, which boots a kernel from the guest's disk."""

    PVGRUB32 = "pvgrub32"
    PVGRUB64 = "pvgrub64"


def new_uuid() -> str:
    """A random UUID in its usual form."""
    return str(uuid.uuid4())


@dataclass(frozen=True, kw_only=True)
class DomainConfig:
    """One domain. Memory is in MiB, weight as in xl, cap in percent of one CPU (0: no cap)."""

    name: str
    type: DomainType = DomainType.PV
    uuid: str = field(default_factory=new_uuid)
    kernel: str | None = None
    ramdisk: str | None = None
    firmware: Firmware | None = None
    """Taken for the kernel: once the configuration is loaded, ``kernel`` is its file."""
    cmdline: str = ""
    memory: int = MIN_MEMORY
    maxmem: int = MIN_MEMORY
    vcpus: int = 1
    maxvcpus: int = 1
    cpus: tuple[str, ...] = ()
    """One CPU list for each vCPU, in order; vCPUs beyond it may run anywhere."""
    cpus_soft: tuple[str, ...] = ()
    cpu_weight: int = 256
    cap: int = 0
    pool: str = "Pool-0"
    on_poweroff: Action = Action.DESTROY
    on_reboot: Action = Action.RESTART
    on_watchdog: Action = Action.DESTROY
    on_crash: Action = Action.DESTROY
    on_soft_reset: Action = Action.SOFT_RESET
    max_grant_frames: int = 64
    max_event_channels: int = 1023
    nomigrate: bool = False
    bootloader: str | None = None
    bootloader_args: tuple[str, ...] = ()
    boot: str | None = None
    acpi: bool = True
    apic: bool = True
    serial: tuple[str, ...] = ()
    disk: tuple[DiskConfig, ...] = ()
    vif: tuple[NicConfig, ...] = ()
    vfb: tuple[str, ...] = ()
    engine: EngineChoice = EngineChoice.AUTO
    cloud_init: str | None = None
    """A file of user data for the guest; Xenolith's own key, too."""

    def to_dict(self) -> dict[str, Any]:
        """This configuration in JSON's types, for the RPC and for the disk."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, plain: object) -> Self:
        """The opposite of :meth:`to_dict`; ValueError names the member that is not as it must."""
        return from_plain(cls, plain, "config")
