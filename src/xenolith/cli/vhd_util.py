"""The program `vhd-util`: the commands and options of blktap2's program of that name.

It is for scripts that were written for that (tools/blktap2/vhd of Xen 4.0); output and options are
the same. Unlike that one it copies a coalesced image's data and leaves it empty, and needs no
journal to resize.
"""

from __future__ import annotations

import errno
import fnmatch
import getopt
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from xenolith.cli import vhd_util_read
from xenolith.cli.command import CommandError, UsageError
from xenolith.cli.vhd import guarded
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import new_file, open_file, open_locked
from xenolith.storage.open import open_image
from xenolith.storage.snapshot import coalesce, snapshot
from xenolith.storage.vhd import parent
from xenolith.storage.vhd.chain import Chain
from xenolith.storage.vhd.check import check
from xenolith.storage.vhd.create import raw_parent, vhd_parent, write_dynamic, write_fixed
from xenolith.storage.vhd.metadata import read_metadata
from xenolith.storage.vhd.repair import repair
from xenolith.storage.vhd.resize import resize
from xenolith.storage.vhd.rewrite import reparent, set_hidden

BAD_USAGE = errno.EINVAL

Options = dict[str, str]

_MIB_SHIFT = 20
_PAGE = 1 << 20


def main(argv: list[str] | None = None) -> int:
    """Run `vhd-util` with these arguments, or those of the process; return its exit status."""
    return guarded(_run, sys.argv[1:] if argv is None else argv)


def _run(arguments: list[str]) -> int:
    name, *rest = arguments or ["help"]
    if name not in _COMMANDS:
        print(f"usage: vhd-util COMMAND [OPTIONS]\nCOMMAND := {{ {' | '.join(_COMMANDS)} }}")
        return 0
    function, letters, usage = _COMMANDS[name]
    try:
        found, operands = getopt.getopt([word for word in rest if word != "--debug"], f"{letters}h")
        options = {option[1:]: value for option, value in found}
        if "h" in options:
            print(f"options: {usage}")
            return 0
        return function(options, operands)
    except (getopt.GetoptError, UsageError) as error:
        print(f"{error}\noptions: {usage}")
        return BAD_USAGE


def _create(options: Options, _: Sequence[str]) -> int:
    size = _number(options, "s") << _MIB_SHIFT
    with new_file(_required(options, "n")) as file:
        if "r" in options:
            write_fixed(file, size)
        else:
            write_dynamic(file, size)
    return 0


def _snapshot(options: Options, _: Sequence[str]) -> int:
    name, parent_name = _required(options, "n"), _required(options, "p")
    if "l" in options and "m" not in options:
        with _opened(parent_name) as file:
            depth = _depth(file)
        if depth >= _number(options, "l"):
            raise CommandError(f"snapshot depth exceeded: {parent_name} has a depth of {depth}")
    snapshot(parent_name, "raw" if "m" in options else "vhd", name)
    return 0


def _query(options: Options, _: Sequence[str]) -> int:
    name = _required(options, "n")
    with _opened(name) as file:
        metadata = read_metadata(file)
        if "v" in options:
            print(metadata.size >> _MIB_SHIFT)
        if "s" in options:
            print(file.size)
        if "p" in options:
            head = parent.parent_header(file)
            print(f"{name} has no parent" if head is None else _parent_path(file) or "query failed")
        if "f" in options:
            print(f"hidden: {metadata.footer.hidden}")
        if "d" in options:
            print(f"chain depth: {_depth(file)}")
    return 0


def _read(options: Options, _: Sequence[str]) -> int:
    with _opened(_required(options, "n")) as file:
        if "p" in options:
            for line in vhd_util_read.lines(file):
                print(line)
    return 0


def _set(options: Options, _: Sequence[str]) -> int:
    value = _number(options, "v")
    if _required(options, "f") != "hidden" or not 0 <= value <= 255:
        raise UsageError("only the field 'hidden' can be set, to a number up to 255")
    with _opened(_required(options, "n"), Access.WRITE) as file:
        set_hidden(file, value)
    return 0


def _repair(options: Options, _: Sequence[str]) -> int:
    with _opened(_required(options, "n"), Access.WRITE) as file:
        for line in repair(file):
            print(line)
    return 0


def _resize(options: Options, _: Sequence[str]) -> int:
    with _opened(_required(options, "n"), Access.WRITE) as file:
        resize(file, _number(options, "s") << _MIB_SHIFT)
    return 0


def _fill(options: Options, _: Sequence[str]) -> int:
    """Allocate every block."""
    live = open_image(_required(options, "n"), "vhd", writable=True)
    try:
        buffer = memoryview(bytearray(_PAGE))
        for offset in range(0, live.size, _PAGE):
            part = buffer[: min(_PAGE, live.size - offset)]
            live.readv([part], offset)
            if isinstance(live.image, Chain):
                live.image.allocate(offset, offset + len(part))
            live.writev([part], offset)
        live.flush()
    finally:
        live.close()
    return 0


def _coalesce(options: Options, _: Sequence[str]) -> int:
    coalesce(_required(options, "n"), [])
    return 0


def _modify(options: Options, _: Sequence[str]) -> int:
    with _opened(_required(options, "n"), Access.WRITE) as file:
        if "s" in options:
            os.truncate(file.fd, _number(options, "s"))
        if "p" in options:
            with _opened(options["p"]) as new:
                reparent(file, raw_parent(new) if "m" in options else vhd_parent(new))
    return 0


def _scan(options: Options, names: Sequence[str]) -> int:
    """One line for each image; ``-m`` takes a pattern besides names, which may have patterns."""
    if "m" in options:
        directory = os.path.dirname(options["m"]) or "."
        pattern = os.path.basename(options["m"])
        names = [*names, *_matching(directory, pattern)]
    failed = False
    for name in names:
        try:
            with _opened(name) as file:
                print(_scan_line(file))
        except ImageError as error:
            failed = True
            print(f"vhd={name} scan-error=22 error-message='{error}'")
            if "c" not in options:
                break
    return int(failed and "c" not in options)


def _matching(directory: str, pattern: str) -> Iterator[str]:
    for name in sorted(os.listdir(directory)):
        if fnmatch.fnmatch(name, pattern):
            yield os.path.join(directory, name)


def _scan_line(file: ImageFile) -> str:
    metadata = read_metadata(file)
    above = _parent_path(file) if metadata.is_differencing else None
    return (
        f"vhd={os.path.basename(file.name)} capacity={metadata.size} size={file.size} "
        f"hidden={metadata.footer.hidden} parent={os.path.basename(above) if above else 'none'}"
    )


def _check(options: Options, _: Sequence[str]) -> int:
    name = _required(options, "n")
    with _opened(name) as file:
        report = check(file)
    for line in report.lines():
        print(line)
    print(f"{name} is valid" if report.is_sound else f"{name} appears invalid")
    return 0 if report.is_sound else errno.EINVAL


def _parent_path(file: ImageFile) -> str | None:
    head = parent.parent_header(file)
    if head is None:
        return None
    return next((path for path in parent.paths(file, head) if os.path.exists(path)), None)


def _depth(file: ImageFile) -> int:
    files = parent.open_chain(file)
    for ancestor in files[1:]:
        ancestor.close()
    return len(files)


@contextmanager
def _opened(name: str, access: Access = Access.READ) -> Iterator[ImageFile]:
    file = open_file(name, access) if access is Access.READ else open_locked(name, access)
    try:
        yield file
    finally:
        file.close()


def _required(options: Options, letter: str) -> str:
    if not options.get(letter):
        raise UsageError(f"option -{letter} is needed")
    return options[letter]


def _number(options: Options, letter: str) -> int:
    text = _required(options, letter)
    if not text.isdecimal():
        raise UsageError(f"'{text}' is not a number")
    return int(text)


_COMMANDS: dict[str, tuple[Callable[[Options, Sequence[str]], int], str, str]] = {
    "create": (_create, "n:s:r", "<-n name> <-s size (MB)> [-r reserve] [-h help]"),
    "snapshot": (
        _snapshot, "n:p:l:m",
        "<-n name> <-p parent name> [-l snapshot depth limit] [-m parent_is_raw] [-h help]",
    ),
    "query": (
        _query, "n:vspfd",
        "<-n name> [-v print virtual size (in MB)] [-s print physical utilization (bytes)] "
        "[-p print parent] [-f print fields] [-d print chain depth] [-h help]",
    ),
    "read": (_read, "n:p", "<-n name> [-p print VHD headers] [-h help]"),
    "set": (_set, "n:f:v:", "<-n name> <-f field> <-v value> [-h help]"),
    "repair": (_repair, "n:", "<-n name> [-h help]"),
    "resize": (_resize, "n:j:s:", "<-n name> [-j journal] <-s size (in MB)> [-h help]"),
    "fill": (_fill, "n:", "<-n name> [-h help]"),
    "coalesce": (_coalesce, "n:", "<-n name> [-h help]"),
    "modify": (
        _modify, "n:s:p:m",
        "<-n name> [-p NEW_PARENT set parent [-m raw]] [-s NEW_SIZE set size] [-h help]",
    ),
    "scan": (_scan, "m:fcl:pav", "[-m match filter] [-c continue on failure] [-h help] FILES"),
    "check": (_check, "n:ip", "<-n name> [-h help]"),
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
