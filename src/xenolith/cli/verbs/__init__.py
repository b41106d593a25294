"""The verbs of xl(1): one module each, named like the verb with ``_`` for ``-``.

A module is imported when its verb is used; `xl help` imports them all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from xenolith.cli.command import Verb

VERBS = (
    "create",
    "check-config",
    "list",
    "vm-list",
    "destroy",
    "shutdown",
    "reboot",
    "pause",
    "unpause",
    "console",
    "rename",
    "domid",
    "domname",
    "vcpu-list",
    "vcpu-pin",
    "vcpu-set",
    "sched-credit",
    "sched-credit2",
    "sched-rtds",
    "cpupool-list",
    "cpupool-create",
    "cpupool-destroy",
    "cpupool-rename",
    "cpupool-cpu-add",
    "cpupool-cpu-remove",
    "cpupool-migrate",
    "cpupool-numa-split",
    "mem-set",
    "mem-max",
    "trigger",
    "sysrq",
    "dump-core",
    "block-attach",
    "block-detach",
    "block-list",
    "block-resize",
    "block-snapshot",
    "block-coalesce",
    "cd-insert",
    "cd-eject",
    "strace",
    "network-attach",
    "network-detach",
    "network-list",
    "network-capture",
    "info",
    "uptime",
    "dmesg",
    "debug-keys",
    "completion",
    "help",
)
"""In the order of `xl help`."""

ABSENT = (
    "button-press",
    "channel-list",
    "claims",
    "config-update",
    "devd",
    "getenforce",
    "loadpolicy",
    "migrate",
    "migrate-receive",
    "pci-assignable-add",
    "pci-assignable-list",
    "pci-assignable-remove",
    "pci-attach",
    "pci-detach",
    "pci-list",
    "psr-cat-set",
    "psr-cat-show",
    "psr-cmt-attach",
    "psr-cmt-detach",
    "psr-cmt-show",
    "psr-hwinfo",
    "psr-mba-set",
    "psr-mba-show",
    "qemu-monitor-command",
    "remus",
    "restore",
    "save",
    "set-parameters",
    "setenforce",
    "sharing",
    "top",
    "usb-list",
    "usbctrl-attach",
    "usbctrl-detach",
    "usbdev-attach",
    "usbdev-detach",
    "vdispl-attach",
    "vdispl-detach",
    "vdispl-list",
    "vkb-attach",
    "vkb-detach",
    "vkb-list",
    "vncviewer",
    "vsnd-attach",
    "vsnd-detach",
    "vsnd-list",
    "vtpm-attach",
    "vtpm-detach",
    "vtpm-list",
)
"""What else xl has: who types one of these is told that it is not a slip of the pen."""


def load(name: str) -> Verb:
    """The module of a verb that is in VERBS."""
    return cast("Verb", importlib.import_module(f"{__name__}.{name.replace('-', '_')}"))


def matching(word: str) -> list[str]:
    """The verbs that ``word`` may stand for: itself, else those that it begins."""
    return [word] if word in VERBS else [name for name in VERBS if name.startswith(word)]
