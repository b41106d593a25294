"""File systems as the boot loader sees them: nodes, paths, symbolic links, whatever library reads them.

The libraries may raise anything when a file system is damaged, so they are only called from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from typing import NamedTuple, Protocol

from xenolith.bootloader.errors import BootError

_MOST_LINKS = 40
"""Linux's limit for one path."""
_MOST_PARTS = 256
_LONGEST_LINK = 4096
_LONGEST_LISTING = 10_000
_CHUNK = 1 << 20


class Kind(Enum):
    """What a name in a directory stands for."""

    FILE = auto()
    DIRECTORY = auto()
    LINK = auto()
    OTHER = auto()


class Stream(Protocol):
    """What :meth:`Node.open` returns."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, none at the end."""


class Node(Protocol):
    """An inode. Every method may raise anything."""

    @property
    def kind(self) -> Kind:
        """What it is."""

    @property
    def size(self) -> int:
        """Bytes of a file or of a link's target."""

    def lookup(self, name: str) -> Node | None:
        """What has a name in this directory."""

    def names(self) -> Iterator[str]:
        """The names in this directory."""

    def target(self) -> str:
        """Where this link leads."""

    def open(self) -> Stream:
        """The contents of this file."""


class FileSystem(NamedTuple):
    """An open file system."""

    kind: str
    """Its name, such as ``ext4``, for messages."""
    uuid: str
    """As blkid(8) shows it, in lower case."""
    label: str
    roots: Sequence[Node]
    """Where absolute paths begin; paths that the first does not have are looked for in the others."""

    def find(self, path: str) -> Node | None:
        """What a path leads to, links followed; None if nothing. BootError."""
        with self._guard(path):
            for root in self.roots:
                node = _walk(root, path)
                if node is not None:
                    return node
        return None

    def is_file(self, path: str) -> bool:
        """Whether there is a file; a damaged directory has none."""
        try:
            node = self.find(path)
        except BootError:
            return False
        return node is not None and node.kind is Kind.FILE

    def names(self, path: str) -> list[str]:
        """The names in a directory but . and .., in no order; none where it is no directory. BootError."""
        node = self.find(path)
        if node is None or node.kind is not Kind.DIRECTORY:
            return []
        found: list[str] = []
        with self._guard(path):
            for name in node.names():
                if name not in (".", ".."):
                    found.append(name)
                if len(found) > _LONGEST_LISTING:
                    raise BootError(f"{path} has more than {_LONGEST_LISTING} names")
        return found

    def size(self, path: str) -> int:
        """The bytes of a file, 0 where there is none; BootError."""
        node = self.find(path)
        with self._guard(path):
            return node.size if node is not None and node.kind is Kind.FILE else 0

    def read(self, path: str, limit: int) -> bytes:
        """The contents of a file of at most ``limit`` bytes; BootError."""
        return b"".join(self.chunks(path, limit))

    def chunks(self, path: str, limit: int) -> Iterator[bytes]:
        """The contents of a file in pieces; BootError, also if they are more than ``limit`` bytes."""
        node = self.find(path)
        with self._guard(path):
            if node is None or node.kind is not Kind.FILE:
                raise BootError(f"there is no file {path} on the {self.kind} file system")
            left = node.size
            if left > limit:
                raise BootError(f"{path} has {left} bytes, and {limit} is the limit")
            stream = node.open()
            while left:
                data = stream.read(min(left, _CHUNK))[:left]
                if not data:
                    raise BootError(f"{path} is shorter than its {self.kind} file system says")
                left -= len(data)
                yield data

    @contextmanager
    def _guard(self, path: str) -> Iterator[None]:
        try:
            yield
        except BootError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise BootError(
                f"{path} cannot be read, the {self.kind} is damaged ({what})"
            ) from error


def _walk(root: Node, path: str) -> Node | None:
    parents, node = list[Node](), root
    left = _parts(path)
    links = 0
    while left:
        if len(left) + len(parents) > _MOST_PARTS:
            raise BootError(f"the path {path} leads through too many directories")
        part = left.pop(0)
        if part == "..":
            node = parents.pop() if parents else root
            continue
        if node.kind is not Kind.DIRECTORY:
            return None
        child = node.lookup(part)
        if child is None:
            return None
        if child.kind is not Kind.LINK:
            parents.append(node)
            node = child
            continue
        links += 1
        if links > _MOST_LINKS:
            raise BootError(f"{path} leads through more than {_MOST_LINKS} symbolic links")
        target = _target(child)
        if target.startswith("/"):
            parents, node = [], root
        left = _parts(target) + left
    return node


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _target(link: Node) -> str:
    if link.size > _LONGEST_LINK:
        raise BootError("a symbolic link is longer than a path can be")
    return link.target()
