"""The menu of a grub.cfg: its script is run, and so is that of an entry when it is chosen."""

from __future__ import annotations

import re
from collections.abc import Iterator

from xenolith.bootloader.errors import BootError
from xenolith.bootloader.grub.bls import bls_entries
from xenolith.bootloader.grub.commands import (
    BlsCommand,
    Found,
    MenuCommand,
    commands,
    read_text,
)
from xenolith.bootloader.grub.interpreter import Interpreter
from xenolith.bootloader.grub.parser import parse_script
from xenolith.bootloader.grub.syntax import Script, ScriptError
from xenolith.bootloader.menu import Boot, Entry, Menu
from xenolith.bootloader.volumes import FileRef, Volume, Volumes

_FEATURES = (
    "chainloader_bpb", "default_font_path", "menuentry_id", "menuentry_options", "ntldr",
    "platform_search_hint", "timeout_style", "all_video_module", "200_final",
)  # fmt: skip
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def grub_menu(config: FileRef, volumes: Volumes) -> Menu:
    """The menu of a grub.cfg; BootError."""
    return script_menu(read_text(config), config, volumes)


def script_menu(text: str, config: FileRef, volumes: Volumes) -> Menu:
    """The menu of the text of a grub.cfg, which is in a file ``config``; BootError."""
    script = parse_script(text, str(config))
    found = Found(volumes, config.volume)
    shell = Interpreter(commands(found), _variables(config))
    _run(shell, script)
    if not found.entries and found.kernel is not None:
        # A script without a menu boots by itself.
        boot = _boot(found)
        return Menu([Entry("Linux", (), lambda: boot)], timeout=0)
    return _menu(found, shell)


def _variables(config: FileRef) -> dict[str, str]:
    """What GRUB itself sets before it runs a script."""
    directory = config.path.rpartition("/")[0]
    return {
        **{f"feature_{name}": "y" for name in _FEATURES},
        "root": config.volume.name,
        "prefix": f"({config.volume.name}){directory}",
        "config_directory": f"({config.volume.name}){directory}",
        "config_file": str(config),
        "grub_cpu": "x86_64",
        "grub_platform": "xen",
    }


def _run(shell: Interpreter, script: Script) -> None:
    try:
        shell.run(script)
    except RecursionError:
        raise ScriptError("the script has too many blocks and calls within each other") from None


def _menu(found: Found, shell: Interpreter) -> Menu:
    entries = [entry for item in found.entries for entry in _entries(item, found)]
    return Menu(entries, shell.variables.get("default", ""), _timeout(shell.variables))


def _timeout(variables: dict[str, str]) -> float | None:
    try:
        seconds = int(variables.get("timeout", "")[:9])
    except ValueError:
        return None
    return float(seconds) if seconds >= 0 else None


def _entries(item: MenuCommand | BlsCommand, found: Found) -> Iterator[Entry]:
    if isinstance(item, BlsCommand):
        yield from _bls(item, found)
    elif item.is_submenu:
        yield Entry(item.title, item.ids, submenu=lambda: _submenu(item, found))
    else:
        yield Entry(item.title, item.ids, load=lambda: _load(item, found))


def _submenu(item: MenuCommand, outer: Found) -> Menu:
    found = Found(outer.volumes, outer.home)
    shell = _rerun(item, found)
    return _menu(found, shell)


def _load(item: MenuCommand, outer: Found) -> Boot:
    found = Found(outer.volumes, outer.home)
    _rerun(item, found)
    if found.kernel is None:
        raise BootError(f"the entry '{item.title}' boots no Linux kernel")
    return _boot(found)


def _rerun(item: MenuCommand, found: Found) -> Interpreter:
    """Run the script of an entry in the state in which the menu was left."""
    shell = item.interpreter.child(item.arguments, commands(found))
    shell.variables["chosen"] = item.title
    _run(shell, item.script)
    return shell


def _boot(found: Found) -> Boot:
    assert found.kernel is not None
    kernel, arguments = found.kernel
    ramdisks = found.ramdisks
    if found.modules:
        # Of a hypervisor and its modules, the kernel of the first domain and its ramdisk.
        (kernel, arguments), *modules = found.modules
        ramdisks = [file for file, _ in modules]
    return Boot(kernel, tuple(ramdisks), arguments)


def _bls(item: BlsCommand, found: Found) -> Iterator[Entry]:
    shell = item.interpreter

    def value(match: re.Match[str]) -> str:
        return shell.variables.get(match[1] or match[2], "")

    yield from bls_entries(
        item.directory,
        lambda path: _beside(item.directory.volume, path, found.volumes),
        lambda text: _VARIABLE.sub(value, text),
    )


def _beside(volume: Volume, path: str, volumes: Volumes) -> FileRef:
    """A file on the volume of the entry that names it."""
    return volumes.file(path, volume.name, volume)
