"""Records what is done to files, and makes the files as a crash at any point may leave them.

When a process is killed, all calls before that have happened, and the last write perhaps in part.
When power fails, of the writes that were not followed by a sync any may be missing.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from xenolith.storage import fallocate

PAGE = 4096


@dataclass
class Call:
    """One call that changes a file, or the names of files."""

    kind: str
    inode: int = 0
    offset: int = 0
    data: bytes = b""
    length: int = 0
    names: tuple[str, str] = ("", "")
    mtime_ns: int = 0


@dataclass
class Content:
    data: bytearray
    mtime_ns: int

    def copy(self) -> Content:
        return Content(bytearray(self.data), self.mtime_ns)

    def apply(self, call: Call) -> None:
        end = call.offset + (len(call.data) or call.length)
        if call.kind == "truncate":
            del self.data[call.length :]
            self.data.extend(bytes(call.length - len(self.data)))
        elif call.kind in ("write", "zero"):
            if call.kind == "zero":
                end = min(end, len(self.data))
            if end > len(self.data):
                self.data.extend(bytes(end - len(self.data)))
            piece = call.data or bytes(max(0, end - call.offset))
            self.data[call.offset : end] = piece
        self.mtime_ns = call.mtime_ns


@dataclass
class Recorder:
    """The files of a directory, and what was done to them while this was recording."""

    directory: Path
    ordered: bool = False
    """Whether a file never gets longer without the data, as with ext4's and XFS's defaults."""
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names: dict[str, int] = {}
        self.contents: dict[int, Content] = {}
        for path in self.directory.iterdir():
            status = path.stat()
            self.names[path.name] = status.st_ino
            self.contents[status.st_ino] = Content(bytearray(path.read_bytes()), status.st_mtime_ns)

    def mark(self, note: Any) -> None:
        """Put a note between the calls."""
        self.calls.append(Call("mark", names=(note, "")))

    @contextmanager
    def recording(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            self._patch(patch)
            yield

    def _patch(self, patch: pytest.MonkeyPatch) -> None:
        pwritev, ftruncate, link, rename = os.pwritev, os.ftruncate, os.link, os.rename
        unlink, utime, punch = os.unlink, os.utime, fallocate._fallocate

        def note(kind: str, fd: int, **fields: Any) -> None:
            status = os.fstat(fd)
            call = Call(kind, status.st_ino, mtime_ns=status.st_mtime_ns, **fields)
            self.calls.append(call)

        def on_write(fd: int, buffers: Sequence[memoryview], offset: int) -> int:
            data = b"".join(buffers)
            count = pwritev(fd, buffers, offset)
            assert count == len(data)
            note("write", fd, offset=offset, data=data)
            return count

        def on_truncate(fd: int, length: int) -> None:
            ftruncate(fd, length)
            note("truncate", fd, length=length)

        def on_punch(fd: int, mode: int, offset: int, length: int) -> bool:
            done = punch(fd, mode, offset, length)
            if done:
                note("zero", fd, offset=offset, length=length)
            return done

        def on_link(source: str, target: str, **options: Any) -> None:
            link(source, target, **options)
            name = os.path.basename(target)
            inode = os.stat(self.directory / name).st_ino
            self.calls.append(Call("link", inode, names=(name, "")))

        def on_rename(source: str, target: str) -> None:
            rename(source, target)
            names = os.path.basename(source), os.path.basename(target)
            self.calls.append(Call("rename", names=names))

        def on_unlink(path: str) -> None:
            unlink(path)
            self.calls.append(Call("unlink", names=(os.path.basename(path), "")))

        def on_utime(target: Any, **options: Any) -> None:
            utime(target, **options)
            note("utime", target)

        def on_sync(fd: int) -> None:
            note("sync", fd)

        def no_copy(*_: Any) -> int:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

        replacements: dict[str, Callable[..., Any]] = {
            "pwritev": on_write, "ftruncate": on_truncate, "link": on_link, "rename": on_rename,
            "unlink": on_unlink, "utime": on_utime, "fsync": on_sync, "fdatasync": on_sync,
            "copy_file_range": no_copy,
        }  # fmt: skip
        for name, replacement in replacements.items():
            patch.setattr(os, name, replacement)
        patch.setattr(fallocate, "_fallocate", on_punch)

    def marks(self, end: int) -> list[Any]:
        """The notes before the call number ``end``."""
        return [call.names[0] for call in self.calls[:end] if call.kind == "mark"]

    def killed(self, end: int, target: Path, rng: random.Random) -> None:
        """Make the files as they are if the process is killed during the call number ``end``."""
        contents = {inode: content.copy() for inode, content in self.contents.items()}
        names = dict(self.names)
        for call in self.calls[:end]:
            _apply(call, names, contents)
        if end < len(self.calls) and self.calls[end].kind == "write":
            torn = self.calls[end]
            # Linux looks for a fatal signal between the pages of a write.
            pages = range(PAGE - torn.offset % PAGE, len(torn.data), PAGE)
            kept = rng.choice([0, *pages])
            if kept:
                part = Call("write", torn.inode, torn.offset, torn.data[:kept])
                part.mtime_ns = torn.mtime_ns
                _apply(part, names, contents)
        _materialize(target, names, contents)

    def powered_off(self, end: int, target: Path, rng: random.Random) -> None:
        """Make the files as they may be if power fails before the call number ``end``."""
        contents = {inode: content.copy() for inode, content in self.contents.items()}
        names = dict(self.names)
        synced: dict[int, int] = {}
        for number, call in enumerate(self.calls[:end]):
            if call.kind == "sync":
                synced[call.inode] = number
        chance = rng.choice([0.0, 0.2, 0.5, 0.8, 1.0])
        for number, call in enumerate(self.calls[:end]):
            is_durable = number < synced.get(call.inode, -1)
            if call.kind in ("write", "zero") and not is_durable and rng.random() >= chance:
                # The file is as long as it became, perhaps; its time may have changed, too.
                content = contents.setdefault(call.inode, Content(bytearray(), 0))
                if call.kind == "write" and not self.ordered and rng.random() < 0.5:
                    end_of_write = call.offset + len(call.data)
                    content.data.extend(bytes(max(0, end_of_write - len(content.data))))
                content.mtime_ns = call.mtime_ns
                continue
            _apply(call, names, contents)
        _materialize(target, names, contents)


def _apply(call: Call, names: dict[str, int], contents: dict[int, Content]) -> None:
    if call.kind in ("write", "zero", "truncate", "utime"):
        contents.setdefault(call.inode, Content(bytearray(), 0)).apply(call)
    elif call.kind == "link":
        names[call.names[0]] = call.inode
    elif call.kind == "rename":
        names[call.names[1]] = names.pop(call.names[0])
    elif call.kind == "unlink":
        del names[call.names[0]]


def _materialize(target: Path, names: dict[str, int], contents: dict[int, Content]) -> None:
    for path in target.iterdir():
        path.unlink()
    for name, inode in names.items():
        content = contents[inode]
        (target / name).write_bytes(content.data)
        os.utime(target / name, ns=(content.mtime_ns, content.mtime_ns))
