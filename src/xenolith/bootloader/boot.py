"""From a disk to a kernel: finds the menu, has an entry chosen, and copies what that boots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from xenolith.bootloader.disk import Disk
from xenolith.bootloader.errors import BootError
from xenolith.bootloader.find import find_menu
from xenolith.bootloader.limits import LARGEST_KERNEL, LARGEST_RAMDISK, LONGEST_COMMAND_LINE
from xenolith.bootloader.menu import Boot, Entry, Menu, choose, choose_named
from xenolith.bootloader.options import Options
from xenolith.bootloader.volumes import FileRef, Volumes, open_volumes
from xenolith.storage.image import Image

_DEEPEST_LISTING = 8
_LONGEST_LISTING = 1000

Chooser = Callable[[Menu], Boot]
"""Has somebody choose an entry; BootError."""
Write = Callable[[bytes], None]


class Outcome(NamedTuple):
    """What the guest is to boot."""

    kernel: str
    """Where it was found."""
    ramdisks: tuple[str, ...]
    command_line: str


def boot(
    image: Image, options: Options, chooser: Chooser | None, kernel: Write, ramdisk: Write
) -> Outcome:
    """Choose an entry and copy its kernel and ramdisks; BootError.

    Where nobody is there to choose (None), it is the default, or what the options say.
    """
    volumes = _volumes(image, options)
    chosen = _choose(volumes, options, chooser)
    command_line = " ".join(part for part in (chosen.arguments, options.args) if part)
    if not command_line.isprintable():
        raise BootError("the kernel's command line has characters that do not belong there")
    if len(command_line.encode()) > LONGEST_COMMAND_LINE:
        raise BootError(f"the kernel's command line is longer than {LONGEST_COMMAND_LINE} bytes")
    for chunk in _contents(chosen.kernel, LARGEST_KERNEL):
        kernel(chunk)
    left = LARGEST_RAMDISK
    for file in chosen.ramdisks:
        written = 0
        for chunk in _contents(file, left):
            ramdisk(chunk)
            written += len(chunk)
        # Linux wants an archive behind another to begin at a multiple of four.
        ramdisk(bytes(-written % 4))
        left -= written
    return Outcome(str(chosen.kernel), tuple(map(str, chosen.ramdisks)), command_line)


def listing(image: Image, options: Options) -> Iterator[str]:
    """A line for each entry of the menu, those of submenus indented; BootError."""
    left = _LONGEST_LISTING

    def lines(menu: Menu, path: str, depth: int, on_default: bool) -> Iterator[str]:
        nonlocal left
        for number, entry in enumerate(menu.entries):
            left -= 1
            if left < 0 or depth > _DEEPEST_LISTING:
                return
            is_default = on_default and number == menu.default_number
            mark = "*" if is_default else " "
            yield f"{mark} {'  ' * depth}{path}{number}: {printable(entry.title)}"
            if entry.submenu is not None:
                yield from lines(menu.enter(entry), f"{path}{number}>", depth + 1, is_default)

    yield from lines(find_menu(_volumes(image, options)), "", 0, True)


def printable(text: str) -> str:
    """A text out of the guest's disk without what would control a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def load(entry: Entry) -> Boot:
    """What an entry boots; BootError."""
    assert entry.load is not None
    return entry.load()


def _volumes(image: Image, options: Options) -> Volumes:
    return open_volumes(Disk(image), options.offset, options.partition)


def _choose(volumes: Volumes, options: Options, chooser: Chooser | None) -> Boot:
    if options.kernel is not None:
        return _named_files(volumes, options.kernel, options.ramdisk, "")
    menu = find_menu(volumes)
    if options.entry is not None:
        chosen = load(choose_named(menu, options.entry))
    elif chooser is None or options.quiet:
        chosen = load(choose(menu))
    else:
        chosen = chooser(menu)
    if options.ramdisk is None:
        return chosen
    return Boot(chosen.kernel, (_named(volumes, options.ramdisk),), chosen.arguments)


def _named_files(volumes: Volumes, kernel: str, ramdisk: str | None, arguments: str) -> Boot:
    ramdisks = () if ramdisk is None else (_named(volumes, ramdisk),)
    return Boot(_named(volumes, kernel), ramdisks, arguments)


def _named(volumes: Volumes, path: str) -> FileRef:
    volume = volumes.by_file(path)
    if volume is None:
        raise BootError(f"there is no file {path} on the disk")
    return FileRef(volume, path)


def _contents(file: FileRef, limit: int) -> Iterator[bytes]:
    return file.volume.files.chunks(file.path, limit)
