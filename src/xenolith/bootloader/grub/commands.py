"""GRUB 2's commands, as far as they decide what is booted (GRUB manual, "The list of commands").

These find files and entries; what only changes the script itself is in shell_commands.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from xenolith.bootloader.errors import BootError
from xenolith.bootloader.file_system import Kind
from xenolith.bootloader.grub.condition import holds
from xenolith.bootloader.grub.environment_block import parse_environment_block
from xenolith.bootloader.grub.interpreter import FAILURE, SUCCESS, Builtin, Interpreter
from xenolith.bootloader.grub.parser import parse_script
from xenolith.bootloader.grub.shell_commands import SHELL_COMMANDS
from xenolith.bootloader.grub.syntax import Command, Script, ScriptError
from xenolith.bootloader.volumes import FileRef, Volume, Volumes

LARGEST_FILE = 1 << 20
"""Bytes of a script or of any other file that only says what to boot."""

_MOST_ENTRIES = 1000
_SEARCH_BY = {
    "-f": "file", "--file": "file", "-l": "fs_label", "--label": "fs_label",
    "-u": "fs_uuid", "--fs-uuid": "fs_uuid",
}  # fmt: skip
_HINTS = ("--hint", "--hint-bios", "--hint-efi", "--hint-baremetal", "--hint-ieee1275")
_DEVICE = re.compile(r"\(([^)]*)\)")


class MenuCommand(NamedTuple):
    """A menu entry or a submenu as a script defines it."""

    title: str
    ids: tuple[str, ...]
    arguments: list[str]
    """``$1`` and so on of its script: the title first."""
    script: Script
    is_submenu: bool
    interpreter: Interpreter
    """The state in which it was defined."""


class Found:
    """What a script has left behind when it has run."""

    def __init__(self, volumes: Volumes, home: Volume) -> None:
        self.volumes = volumes
        self.home = home
        """Where the configuration is."""
        self.entries: list[MenuCommand | BlsCommand] = []
        self.kernel: tuple[FileRef, str] | None = None
        """And its command line."""
        self.modules: list[tuple[FileRef, str]] = []
        """Of a multiboot kernel, such as Xen's hypervisor."""
        self.ramdisks: list[FileRef] = []

    def file(self, interpreter: Interpreter, path: str) -> FileRef:
        """The file that a path means in a script."""
        return self.volumes.file(path, interpreter.variables.get("root", ""), self.home)

    def add(self, entry: MenuCommand | BlsCommand) -> None:
        """Add an entry to the menu; ScriptError if it is one too many."""
        if len(self.entries) == _MOST_ENTRIES:
            raise ScriptError(f"the menu has more than {_MOST_ENTRIES} entries")
        self.entries.append(entry)


class BlsCommand(NamedTuple):
    """Where a script has its boot loader specification entries come."""

    directory: FileRef
    interpreter: Interpreter


def commands(found: Found) -> dict[str, Builtin]:
    """The commands by name; what they find goes to ``found``."""
    return _Commands(found).by_name()


class _Commands:
    def __init__(self, found: Found) -> None:
        self._found = found

    def by_name(self) -> dict[str, Builtin]:
        linux = (
            "linux",
            "linux16",
            "linuxefi",
            "linuxxen",
            "multiboot",
            "multiboot2",
            "xen_hypervisor",
        )
        return {
            **SHELL_COMMANDS,
            **dict.fromkeys(linux, self._linux),
            **dict.fromkeys(("initrd", "initrd16", "initrdefi", "initrdxen"), self._initrd),
            **dict.fromkeys(("module", "module2", "xen_module"), self._module),
            **dict.fromkeys(("menuentry", "submenu"), self._menuentry),
            **dict.fromkeys(("source", ".", "configfile", "legacy_source"), self._source),
            **dict.fromkeys(("[", "test"), self._test),
            **dict.fromkeys(("search", "search.fs_uuid", "search.fs_label", "search.file"), self._search),
            "load_env": self._load_env,
            "blscfg": self._blscfg,
            "probe": self._probe,
        }  # fmt: skip

    def _linux(self, shell: Interpreter, words: list[str], _command: Command) -> int:
        words = _without_options(words)
        if not words:
            return FAILURE
        self._found.kernel = (self._found.file(shell, words[0]), " ".join(words[1:]))
        self._found.modules, self._found.ramdisks = [], []
        return SUCCESS

    def _initrd(self, shell: Interpreter, words: list[str], _command: Command) -> int:
        files = [word.removeprefix("newc:") for word in words if not word.startswith("--")]
        self._found.ramdisks = [self._found.file(shell, path) for path in files]
        return SUCCESS

    def _module(self, shell: Interpreter, words: list[str], _command: Command) -> int:
        words = _without_options(words)
        if not words:
            return FAILURE
        self._found.modules.append((self._found.file(shell, words[0]), " ".join(words[1:])))
        return SUCCESS

    def _menuentry(self, shell: Interpreter, words: list[str], command: Command) -> int:
        if command.block is None:
            return FAILURE
        arguments, ids = _menu_arguments(words)
        if not arguments:
            return FAILURE
        is_submenu = command.words[0].bare == "submenu"
        entry = MenuCommand(arguments[0], ids, arguments, command.block, is_submenu, shell)
        self._found.add(entry)
        return SUCCESS

    def _source(self, shell: Interpreter, words: list[str], command: Command) -> int:
        if not words:
            return FAILURE
        file = self._found.file(shell, words[0])
        try:
            text = read_text(file)
        except BootError:
            return FAILURE
        return shell.run_nested(parse_script(text, str(file)), command.line)

    def _test(self, shell: Interpreter, words: list[str], command: Command) -> int:
        if command.words[0].bare == "[" and words[-1:] == ["]"]:
            words = words[:-1]
        return SUCCESS if holds(words, _Files(self._found, shell)) else FAILURE

    def _search(self, shell: Interpreter, words: list[str], command: Command) -> int:
        by, variable, operands = (
            (command.words[0].bare or "").partition(".")[2],
            "root",
            list[str](),
        )
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word in _SEARCH_BY:
                by = _SEARCH_BY[word]
            elif word.startswith("--set="):
                variable = word.removeprefix("--set=")
            elif word in ("-s", "--set"):
                # Its variable is optional, and what is searched for comes last.
                variable = rest.pop(0) if len(rest) > 1 and not rest[0].startswith("-") else "root"
            elif word in _HINTS:
                rest = rest[1:]
            elif not word.startswith("-"):
                operands.append(word)
        if "." in (command.words[0].bare or ""):
            # search.fs_uuid and its like have the variable behind the name, and then hints.
            variable = (operands[1:] or [variable])[0]
        volume = self._search_by(by, operands[0]) if operands else None
        if volume is None:
            return FAILURE
        shell.set(variable, volume.name)
        return SUCCESS

    def _search_by(self, by: str, name: str) -> Volume | None:
        volumes = self._found.volumes
        match by:
            case "file":
                return volumes.by_file(name)
            case "fs_label":
                return volumes.by_label(name)
            case "fs_uuid":
                return volumes.by_uuid(name)
            case _:
                return None

    def _load_env(self, shell: Interpreter, words: list[str], _command: Command) -> int:
        path = f"{shell.variables.get('prefix', '')}/grubenv"
        wanted: list[str] = []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word in ("-f", "--file") and rest:
                path = rest.pop(0)
            elif word.startswith("--file="):
                path = word.removeprefix("--file=")
            elif not word.startswith("-"):
                wanted.append(word)
        file = self._found.file(shell, path)
        try:
            block = parse_environment_block(file.volume.files.read(file.path, LARGEST_FILE))
        except BootError:
            return FAILURE
        for name, value in block.items():
            if not wanted or name in wanted:
                shell.set(name, value)
        return SUCCESS

    def _blscfg(self, shell: Interpreter, words: list[str], _command: Command) -> int:
        named = [word for word in words if "/" in word] or [shell.variables.get("blsdir", "")]
        candidates = [path for path in named if path] or ["/loader/entries", "/boot/loader/entries"]
        for path in candidates:
            directory = self._found.file(shell, path)
            for volume in dict.fromkeys((directory.volume.name, self._found.home.name)):
                here = self._found.volumes.device(volume) or self._found.home
                if here.files.names(directory.path):
                    self._found.add(BlsCommand(FileRef(here, directory.path), shell))
                    return SUCCESS
        return FAILURE

    def _probe(self, shell: Interpreter, words: list[str], _command: Command) -> int:
        """`probe --set=VAR --fs-uuid (DEVICE)`: what is known of a device."""
        variable, what, device = "", "", ""
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word == "--set" and rest:
                variable = rest.pop(0)
            elif word.startswith("--set="):
                variable = word.removeprefix("--set=")
            elif word.startswith("-"):
                what = word.lstrip("-")
            else:
                device = word
        match = _DEVICE.match(device)
        volume = self._found.volumes.device(match[1] if match else device)
        if volume is None or not variable:
            return FAILURE
        value = {"fs-uuid": volume.files.uuid, "u": volume.files.uuid, "label": volume.files.label}
        shell.set(variable, value.get(what, ""))
        return SUCCESS


class _Files:
    """The files of a script, for its conditions."""

    def __init__(self, found: Found, shell: Interpreter) -> None:
        self._found = found
        self._shell = shell

    def test(self, condition: str, path: str) -> bool:
        file = self._found.file(self._shell, path)
        files = file.volume.files
        try:
            if condition == "-s":
                return files.size(file.path) > 0
            if condition == "-f":
                return files.is_file(file.path)
            node = files.find(file.path)
            return node is not None and (condition == "-e" or node.kind is Kind.DIRECTORY)
        except BootError:
            return False


def read_text(file: FileRef) -> str:
    """The text of a configuration; BootError."""
    return file.volume.files.read(file.path, LARGEST_FILE).decode(errors="replace")


def _without_options(words: Sequence[str]) -> list[str]:
    """The words from the first that is no option on."""
    for number, word in enumerate(words):
        if not word.startswith("--"):
            return list(words[number:])
    return []


def _menu_arguments(words: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """The arguments of a menu entry without its options, and the ids among these."""
    arguments: list[str] = []
    ids: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--id" and rest:
            ids.append(rest.pop(0))
        elif word.startswith("--id="):
            ids.append(word.removeprefix("--id="))
        elif word in ("--class", "--users", "--hotkey", "--source"):
            rest = rest[1:]
        elif not word.startswith("--"):
            arguments.append(word)
    return arguments, tuple(ids)
