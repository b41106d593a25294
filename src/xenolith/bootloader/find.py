"""Looks for the configuration of a boot loader in the places where distributions have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from xenolith.bootloader.errors import BootError
from xenolith.bootloader.extlinux import extlinux_menu
from xenolith.bootloader.grub.config import grub_menu, script_menu
from xenolith.bootloader.grub.legacy import legacy_menu
from xenolith.bootloader.menu import Menu
from xenolith.bootloader.volumes import FileRef, Volumes

_SUBVOLUMES = ("", "/@", "/@rootfs", "/root")
"""Where a btrfs has the root directory: at its top, or in a subvolume of Ubuntu, Debian, Fedora."""

_GRUB = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/grub/grub.cfg", "/grub2/grub.cfg")
_LEGACY = (
    "/boot/grub/menu.lst", "/boot/grub/grub.conf", "/grub/menu.lst", "/grub/grub.conf",
)  # fmt: skip
_EXTLINUX = tuple(
    f"{directory}/{name}"
    for name in ("extlinux.conf", "syslinux.cfg", "isolinux.cfg")
    for directory in ("/boot/extlinux", "/extlinux", "/boot", "", "/boot/syslinux", "/syslinux",
                      "/boot/isolinux", "/isolinux")
)  # fmt: skip
_VENDORS = "/EFI"
_LOADER_ENTRIES = "/loader/entries"

Reader = Callable[[FileRef, Volumes], Menu]


def find_menu(volumes: Volumes) -> Menu:
    """The menu of the first configuration that has entries; BootError says what there is instead."""
    problems: list[str] = []
    for config, read in _candidates(volumes):
        try:
            menu = read(config, volumes)
        except BootError as error:
            problems.append(str(error))
            continue
        if menu.entries:
            return menu
        problems.append(f"{config} has no entries")
    names = ", ".join(f"({volume.name}) {volume.files.kind}" for volume in volumes)
    damages = [text for text in (_damage(volumes), *volumes.problems) if text]
    damage = f" ({'; '.join(damages)})" if damages else ""
    raise BootError("; ".join(problems) or f"no file of a boot loader is on {names}{damage}")


def _damage(volumes: Volumes) -> str:
    """Why the files could not even be looked for, if that is so."""
    for volume in volumes:
        for path in _GRUB:
            try:
                volume.files.find(path)
            except BootError as error:
                return str(error)
    return ""


def _candidates(volumes: Volumes) -> Iterator[tuple[FileRef, Reader]]:
    for paths, read in ((_GRUB, grub_menu), (_LEGACY, legacy_menu), (_EXTLINUX, extlinux_menu)):
        for volume in volumes:
            subvolumes = _SUBVOLUMES if volume.files.kind == "btrfs" else ("",)
            for path in (subvolume + path for subvolume in subvolumes for path in paths):
                if volume.files.is_file(path):
                    yield FileRef(volume, path), read
    for volume in volumes:
        with suppress(BootError):
            for vendor in sorted(volume.files.names(_VENDORS)):
                path = f"{_VENDORS}/{vendor}/grub.cfg"
                if volume.files.is_file(path):
                    yield FileRef(volume, path), grub_menu
    for volume in volumes:
        for path in (_LOADER_ENTRIES, f"/boot{_LOADER_ENTRIES}"):
            with suppress(BootError):
                if volume.files.names(path):
                    yield FileRef(volume, path), _loader_menu


def _loader_menu(directory: FileRef, volumes: Volumes) -> Menu:
    """The menu of systemd-boot, which is made of the files in a directory alone."""
    return script_menu("blscfg", directory, volumes)
