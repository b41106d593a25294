"""grub-legacy's menu.lst or grub.conf: commands line by line, entries parted by ``title``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from xenolith.bootloader.errors import BootError
from xenolith.bootloader.grub.commands import LARGEST_FILE, read_text
from xenolith.bootloader.menu import Boot, Entry, Menu
from xenolith.bootloader.volumes import FileRef, Volume, Volumes

_MOST_ENTRIES = 1000
_DEVICE = re.compile(r"\(?\w+,(\d+)(?:,\w)?\)?(.*)")
"""``(hd0,0)/vmlinuz``, ``(hd0,0)`` or ``hd0,0``: partitions count from 0."""
_LINE = re.compile(r"\s*([\w-]+)\s*=?\s*(.*?)\s*$")


def legacy_menu(config: FileRef, volumes: Volumes) -> Menu:
    """The menu of a menu.lst; BootError."""
    return legacy_text_menu(read_text(config), config, volumes)


def legacy_text_menu(text: str, config: FileRef, volumes: Volumes) -> Menu:
    """The menu of the text of a menu.lst, which is in a file ``config``; BootError."""
    settings: dict[str, str] = {}
    stanzas: list[_Stanza] = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        command, argument = match[1].lower(), match[2]
        if command == "title":
            if len(stanzas) == _MOST_ENTRIES:
                raise BootError(f"{config} has more than {_MOST_ENTRIES} entries")
            stanzas.append(_Stanza(argument))
        elif stanzas:
            stanzas[-1].commands.append((command, argument))
        else:
            settings[command] = argument
    entries = [stanza.entry(config.volume, volumes) for stanza in stanzas]
    return Menu(entries, _default(settings, config), _timeout(settings))


def _default(settings: dict[str, str], config: FileRef) -> str:
    default = settings.get("default", "0")
    if default != "saved":
        return default
    saved = f"{config.path.rpartition('/')[0]}/default"
    try:
        data = config.volume.files.read(saved, LARGEST_FILE)
    except BootError:
        return "0"
    return data.decode(errors="replace").split("\n")[0].strip()


def _timeout(settings: dict[str, str]) -> float | None:
    text = settings.get("timeout", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


@dataclass(slots=True)
class _Stanza:
    """What follows a title."""

    title: str
    commands: list[tuple[str, str]] = field(default_factory=list)

    def entry(self, home: Volume, volumes: Volumes) -> Entry:
        return Entry(self.title, (), lambda: self._load(home, volumes))

    def _load(self, home: Volume, volumes: Volumes) -> Boot:
        root = home
        kernel: tuple[FileRef, str] | None = None
        modules: list[tuple[FileRef, str]] = []
        for command, argument in self.commands:
            if command in ("root", "rootnoverify"):
                root = _device(argument, root, volumes)[0]
            elif command == "uuid":
                root = volumes.by_uuid(argument) or root
            elif command == "find" and "--set-root" in argument:
                root = volumes.by_file(argument.split()[-1]) or root
            elif command in ("kernel", "initrd", "module", "modulenounzip"):
                words = [word for word in argument.split() if not word.startswith("--")]
                if not words:
                    continue
                file = _file(words[0], root, home, volumes)
                if command == "kernel":
                    kernel, modules = (file, " ".join(words[1:])), []
                else:
                    modules.append((file, " ".join(words[1:])))
        if kernel is None:
            raise BootError(f"the entry '{self.title}' boots no Linux kernel")
        if any(command.startswith("module") for command, _ in self.commands) and modules:
            # The kernel is a hypervisor, and its first module the kernel of the first domain.
            kernel, *modules = modules
        return Boot(kernel[0], tuple(file for file, _ in modules), kernel[1])


def _file(path: str, root: Volume, home: Volume, volumes: Volumes) -> FileRef:
    volume, path = _device(path, root, volumes)
    if not volume.files.is_file(path) and home.files.is_file(path):
        volume = home
    return FileRef(volume, path)


def _device(text: str, root: Volume, volumes: Volumes) -> tuple[Volume, str]:
    """The volume that a path begins with, else ``root``, and the rest of the path."""
    match = _DEVICE.match(text)
    if match is None or len(match[1]) > 4:
        return root, text
    return volumes.device(f"hd0,{int(match[1]) + 1}") or root, match[2]
