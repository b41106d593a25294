"""A DomainConfig in the JSON layout of libxl_domain_config (tools/libs/light/libxl_types.idl).

That is what `xl list -l` and `xl create -n` print, and what scripts around xl read.
"""

from __future__ import annotations

from typing import Any

from xenolith.toolstack.config.disk import DiskConfig
from xenolith.toolstack.config.domain_config import Action, DomainConfig
from xenolith.toolstack.config.nic import NicConfig

_ACTION_NAMES = {Action.RENAME_RESTART: "restart_rename"}

Json = dict[str, Any]


def to_libxl(config: DomainConfig) -> Json:
    """The configuration by libxl's member names; memory in KiB, what is unset left out."""
    layout: Json = {"c_info": _create_info(config), "b_info": _build_info(config)}
    if config.disk:
        layout["disks"] = [_disk(disk) for disk in config.disk]
    if config.vif:
        layout["nics"] = [_nic(nic, index) for index, nic in enumerate(config.vif)]
    for key in ("on_poweroff", "on_reboot", "on_watchdog", "on_crash", "on_soft_reset"):
        layout[key] = _action(getattr(config, key))
    return layout


def _create_info(config: DomainConfig) -> Json:
    return {
        "type": config.type.value,
        "name": config.name,
        "uuid": config.uuid,
        "pool_name": config.pool,
        "run_hotplug_scripts": "True",
    }


def _build_info(config: DomainConfig) -> Json:
    return _without_unset(
        {
            "max_vcpus": config.maxvcpus,
            "avail_vcpus": list(range(config.vcpus)),
            "max_memkb": config.maxmem * 1024,
            "target_memkb": config.memory * 1024,
            "disable_migrate": _defbool(config.nomigrate),
            "max_grant_frames": config.max_grant_frames,
            "sched_params": {"weight": config.cpu_weight, "cap": config.cap},
            "event_channels": config.max_event_channels,
            "kernel": config.kernel,
            "cmdline": config.cmdline or None,
            "ramdisk": config.ramdisk,
            "acpi": _defbool(config.acpi),
            "bootloader": config.bootloader,
            "bootloader_args": list(config.bootloader_args) or None,
            "apic": _defbool(config.apic),
            "engine": config.engine.value,
            f"type.{config.type}": _without_unset(
                {
                    "serial_list": list(config.serial) or None,
                    "boot": config.boot,
                }
            ),
        }
    )


def _disk(disk: DiskConfig) -> Json:
    return _without_unset(
        {
            "backend_domname": disk.backend,
            "pdev_path": disk.target,
            "vdev": disk.vdev,
            "backend": disk.backendtype and disk.backendtype.value,
            "format": disk.format.value,
            "script": disk.script,
            "removable": int(disk.cdrom),
            "readwrite": int(disk.writable),
            "is_cdrom": int(disk.cdrom),
            "direct_io_safe": disk.direct_io_safe,
            "discard_enable": _defbool(disk.discard),
            "specification": disk.specification.value,
            "trusted": _defbool(disk.trusted),
        }
    )


def _nic(nic: NicConfig, index: int) -> Json:
    return _without_unset(
        {
            "backend_domname": nic.backend,
            "devid": index if nic.devid is None else nic.devid,
            "mtu": nic.mtu,
            "vlan": nic.vlan,
            "model": nic.model,
            "mac": nic.mac,
            "ip": nic.ip,
            "bridge": nic.bridge,
            "ifname": nic.vifname,
            "script": nic.script,
            "nictype": nic.type and nic.type.value,
            "rate_bytes_per_interval": nic.rate_bytes_per_interval,
            "rate_interval_usecs": nic.rate_interval_usecs,
            "gatewaydev": nic.gatewaydev,
            "trusted": _defbool(nic.trusted),
        }
    )


def _action(action: Action) -> str:
    return _ACTION_NAMES.get(action, action.replace("-", "_"))


def _defbool(value: bool) -> str:
    return str(value)


def _without_unset(members: Json) -> Json:
    return {name: value for name, value in members.items() if value is not None}
