"""What a whole Debian for a domain consists of: packages, and the files that make it a guest.

mmdebstrap(1) follows the recipe; cloud-init sets up each copy when it first boots.
"""

from __future__ import annotations

import hashlib
import io
import shlex
import tarfile
from collections.abc import Sequence

LABEL = "debian"
"""Of the root file system, by which kernel and fstab find it on whatever disk it is."""

PACKAGES = (
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "lz4",
    "systemd-sysv",
    "systemd-resolved",
    "dbus",
    "udev",
    "openssh-server",
    "cloud-init",
    "sudo",
    "ca-certificates",
    "iproute2",
    "iputils-ping",
    "less",
    "nano",
    "procps",
)

_FILES = {
    "etc/fstab": f"LABEL={LABEL} / ext4 defaults,x-systemd.growfs 0 1\n",
    "etc/hostname": "debian\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 debian\n::1 localhost ip6-localhost\n",
    "etc/systemd/network/80-dhcp.network": """\
[Match]
Name=en* eth*

[Network]
DHCP=yes
""",
    # A guest without a network is to be up all the same, and soon: its failure is none.
    "etc/systemd/system/systemd-networkd-wait-online.service.d/xenolith.conf": """\
[Service]
ExecStart=
ExecStart=-/lib/systemd/systemd-networkd-wait-online --any --timeout=15
""",
    # Linux leaves it to user space to use a vCPU that `xl vcpu-set` has added.
    "etc/udev/rules.d/40-vcpus.rules": (
        'SUBSYSTEM=="cpu", ACTION=="add", ATTR{online}=="0", ATTR{online}="1"\n'
    ),
    # Keys of other kinds take an emulated processor many seconds; so do modules that have nothing
    # to do here, where systemd grows the file system and there is no other cloud.
    "etc/cloud/cloud.cfg.d/90_xenolith.cfg": """\
datasource_list: [NoCloud, None]
network: {config: disabled}
ssh_genkeytypes: [ed25519]
apt: {preserve_sources_list: true}
cloud_init_modules:
  [bootcmd, write_files, set_hostname, update_hostname, update_etc_hosts, ca_certs, users_groups, ssh]
cloud_config_modules: [mounts, set_passwords, apt_configure, ntp, timezone, runcmd]
cloud_final_modules:
  [package_update_upgrade_install, write_files_deferred, scripts_per_once, scripts_per_boot,
   scripts_per_instance, scripts_user, phone_home, final_message, power_state_change]
""",
    # What udev would load because of the processor, to be tested by the kernel for seconds.
    "etc/modprobe.d/xenolith.conf": "".join(
        f"blacklist {module}\n"
        for module in (
            "aesni_intel",
            "crc32_pclmul",
            "crct10dif_pclmul",
            "ghash_clmulni_intel",
            "powernow_k8",
            "sha1_ssse3",
            "sha256_ssse3",
            "sha512_ssse3",
        )
    ),
    # Few modules make a small ramdisk, which is unpacked fast; virtio is for boots under QEMU.
    "etc/initramfs-tools/conf.d/xenolith": "MODULES=list\nCOMPRESS=lz4\n",
    "usr/share/initramfs-tools/modules.d/xenolith": """\
xen-blkfront
ext4
virtio_pci
virtio_blk
""",
    "etc/dpkg/dpkg.cfg.d/xenolith": """\
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/man/*
""",
}

_MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service",
)
"""Work that would wake idle guests, or take a while at each boot; `systemctl unmask` brings it back."""

_HOOKS = (
    'chroot "$1" systemctl enable systemd-networkd.service systemd-resolved.service',
    # Each guest makes its own.
    'rm -f "$1"/etc/ssh/ssh_host_*',
    # The links to kernel and ramdisk are for boot loaders.
    'rm -f "$1"/vmlinuz* "$1"/initrd.img*',
)


def overlay() -> bytes:
    """A tar archive of the files that are to be there before most packages are installed."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, text in _FILES.items():
            data = text.encode()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
        for unit in _MASKED:
            link = tarfile.TarInfo(f"etc/systemd/system/{unit}")
            link.type, link.linkname = tarfile.SYMTYPE, "/dev/null"
            tar.addfile(link)
    return archive.getvalue()


def identity() -> str:
    """Changes whenever the recipe does."""
    everything = repr((PACKAGES, _HOOKS)).encode() + overlay()
    return hashlib.sha256(everything).hexdigest()[:12]


def mmdebstrap(
    mode: str, suite: str, target: str, overlay_path: str, sources: Sequence[str]
) -> list[str]:
    """The command that makes a tar archive of the root file system.

    ``mode`` is mmdebstrap's; ``sources`` are lines of a sources.list, none for Debian's own mirror.
    """
    hooks = [f"--customize-hook={hook}" for hook in _HOOKS]
    return [
        "mmdebstrap",
        f"--mode={mode}",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        f"--essential-hook=tar-in {shlex.quote(overlay_path)} /",
        *hooks,
        # Linux makes its own, and an ordinary user cannot make any.
        "--skip=output/dev",
        "--format=tar",
        suite,
        target,
        *sources,
    ]
