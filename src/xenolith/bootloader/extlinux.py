"""The menu of extlinux and isolinux: LABEL, KERNEL, APPEND, INITRD (wiki.syslinux.org, "Config")."""

from __future__ import annotations

from dataclasses import dataclass

from xenolith.bootloader.errors import BootError
from xenolith.bootloader.grub.commands import read_text
from xenolith.bootloader.menu import Boot, Entry, Menu
from xenolith.bootloader.volumes import FileRef, Volumes

_MOST_ENTRIES = 1000
_DEEPEST = 8
_TENTHS = 10


def extlinux_menu(config: FileRef, volumes: Volumes) -> Menu:
    """The menu of an extlinux.conf; BootError."""
    del volumes
    return extlinux_text_menu(read_text(config), config)


def extlinux_text_menu(text: str, config: FileRef) -> Menu:
    """The menu of the text of an extlinux.conf, which is in a file ``config``; BootError."""
    reader = _Reader(config)
    reader.read(text, 0)
    return Menu([label.entry(config) for label in reader.labels], reader.default, reader.timeout)


class _Reader:
    def __init__(self, config: FileRef) -> None:
        self.labels: list[_Label] = []
        self.default = ""
        self.timeout: float | None = None
        self._config = config

    def read(self, text: str, depth: int) -> None:
        for line in text.splitlines():
            command, _, argument = line.strip().replace("\t", " ").partition(" ")
            self._line(command.lower(), argument.strip(), depth)

    def _line(self, command: str, argument: str, depth: int) -> None:
        if command == "menu":
            command, _, argument = argument.partition(" ")
            command, argument = f"menu {command.lower()}", argument.strip()
        if command in ("include", "menu include") and depth < _DEEPEST and argument:
            file = _beside(self._config, argument.split()[0])
            if file.volume.files.is_file(file.path):
                self.read(read_text(file), depth + 1)
        elif command == "label":
            if len(self.labels) == _MOST_ENTRIES:
                raise BootError(f"{self._config} has more than {_MOST_ENTRIES} entries")
            self.labels.append(_Label(argument, argument))
        elif command == "default":
            self.default = argument
        elif command == "timeout":
            if argument.isascii() and argument.isdigit() and len(argument) < 9:
                self.timeout = int(argument) / _TENTHS or None
        elif self.labels:
            self.labels[-1].set(command, argument)
            if command == "menu default":
                self.default = self.labels[-1].name


@dataclass(slots=True)
class _Label:
    name: str
    title: str
    kernel: str = ""
    append: str = ""
    initrd: str = ""

    def set(self, command: str, argument: str) -> None:
        match command:
            case "kernel" | "linux":
                self.kernel = argument
            case "append":
                self.append = argument
            case "initrd":
                self.initrd = argument
            case "menu label":
                # The caret marks the letter to press.
                self.title = argument.replace("^", "")

    def entry(self, config: FileRef) -> Entry:
        return Entry(self.title, (self.name,), lambda: self._load(config))

    def _load(self, config: FileRef) -> Boot:
        words = self.append.split()
        named = [word.partition("=")[2] for word in words if word.startswith("initrd=")]
        files = [path for text in (self.initrd, *named[-1:]) for path in text.split(",") if path]
        kernel = self.kernel.split()
        if not kernel or kernel[0].endswith(".c32"):
            raise BootError(f"the entry '{self.title}' boots no Linux kernel")
        arguments = [*kernel[1:], *(word for word in words if not word.startswith("initrd="))]
        ramdisks = tuple(_beside(config, path) for path in dict.fromkeys(files))
        return Boot(_beside(config, kernel[0]), ramdisks, " ".join(arguments))


def _beside(config: FileRef, path: str) -> FileRef:
    """A file by its path, which is relative to the directory of the configuration."""
    directory = config.path.rpartition("/")[0]
    return FileRef(config.volume, path if path.startswith("/") else f"{directory}/{path}")
