"""Every key of xl.cfg(5) that is known, and what becomes of it here.

Taken from xl (tools/xl/xl_parse.c, docs/man/xl.cfg.5.pod.in) and, for the keys that xl dropped,
from xm of Xen 4.0 (tools/python/xen/xm/create.py).
"""

from __future__ import annotations

import difflib
from enum import Enum, auto


class Effect(Enum):
    """What giving a key does."""

    HONOURED = auto()
    PENDING = auto()
    """Checked where its form is known, stored, and without effect so far."""
    OBSOLETE = auto()
    """A key of xm that xl never read."""


_HONOURED = """
    name type builder uuid kernel ramdisk cmdline root extra memory maxmem vcpus maxvcpus cpus
    cpus_soft cpu_weight cpu_cap cap pool engine
    on_poweroff on_reboot on_watchdog on_crash on_soft_reset max_grant_frames max_event_channels disk vif
    bootloader bootloader_args bootargs
    cloud_init firmware vif2
"""

_PENDING = """
    nomigrate
    boot acpi apic serial vfb

    bootloader_restrict bootloader_user max_maptrack_frames max_grant_version
    period slice latency extratime vnuma seclabel init_seclabel driver_domain passthrough
    device_tree xend_suspend_evtchn_compat vmtrace_buf_kb vpmu xenstore_feature_mask xenstore_quota
    llc_colors vtpm p9 pvcalls channel rdm rdm_mem_boundary usbctrl usbdev pci pci_permissive
    pci_msitranslate pci_seize pci_power_mgmt gfx_passthru dtdev ioports iomem irqs vdispl vsnd vkb
    vkb_device virtio dm_restrict tee arm_sci gic_version vuart sve nr_spis trap_unmapped_accesses
    e820_host hdtype hap oos shadow_memory bios bios_path_override firmware_override
    pvshim pvshim_path pvshim_cmdline pvshim_extra pae acpi_s3 acpi_s4 acpi_laptop_slate nx hpet
    altp2m altp2mhvm altp2m_count nestedhvm cpuid acpi_firmware smbios_firmware smbios ms_vm_genid
    mca_caps msr_relaxed tsc_mode localtime rtc_timeoffset vpt_align timer_mode mmio_hole
    xen_platform_pci xen_platform_pci_bar_uc viridian hvm_pirq vendor_device videoram stdvga vga
    vnc vnclisten vncdisplay vncunused vncpasswd vncviewer keymap sdl opengl display xauthority
    nographic spice spicehost spiceport spicetls_port spicedisable_ticketing spicepasswd
    spiceagent_mouse spicevdagent spice_clipboard_sharing spiceusbredirection
    spice_image_compression spice_streaming_video soundhw usb usbversion usbdevice
    device_model device_model_version device_model_override device_model_user
    device_model_stubdomain_override device_model_stubdomain_seclabel device_model_args
    device_model_args_pv device_model_args_hvm stubdomain_kernel stubdomain_cmdline
    stubdomain_ramdisk stubdomain_memory
"""

_OBSOLETE = """
    access_control blkif bootentry cpu cpuid_check description dhcp fda fdb features gateway
    guest_os_type hostname interface ip irq isa loader machine_address_size memory_sharing
    monitor monitor_path netif netmask nfs_root nfs_server nics on_xend_start on_xend_stop
    parallel restart s3_integrity superpages suppress_spurious_page_faults target tpmif
    vcpu_avail vhpt vncconsole vscsi vusb
"""

KEYS: dict[str, Effect] = {
    name: effect
    for names, effect in (
        (_HONOURED, Effect.HONOURED),
        (_PENDING, Effect.PENDING),
        (_OBSOLETE, Effect.OBSOLETE),
    )
    for name in names.split()
}

ALIASES = {"cpu_cap": "cap", "bootargs": "bootloader_args"}
"""Names of xm that Ganeti still writes beside or instead of xl's."""


def nearest_key(unknown: str) -> str | None:
    """The known key that ``unknown`` was probably meant to be."""
    near = difflib.get_close_matches(unknown.lower(), KEYS, n=1, cutoff=0.7)
    return near[0] if near else None
