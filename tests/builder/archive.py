"""A reader of newc archives, to look into what the builder wrote."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    mode: int
    owner: tuple[int, int]
    time: int
    device: tuple[int, int]
    data: bytes


def read_archive(archive: bytes) -> dict[str, Entry]:
    """The entries by path; fails on anything that the format does not allow."""
    entries: dict[str, Entry] = {}
    inodes = set()
    position = 0
    while True:
        assert position % 4 == 0
        head = archive[position : position + 110]
        assert head[:6] == b"070701"
        fields = [int(head[at : at + 8], 16) for at in range(6, 110, 8)]
        inode, mode, uid, gid, links, time, size, _, _, major, minor, name_size, check = fields
        name_at = position + 110
        name = archive[name_at : name_at + name_size]
        assert name.endswith(b"\0")
        data_at = name_at + name_size
        data_at += -data_at % 4
        position = data_at + size
        position += -position % 4
        assert (links, check) == (1, 0)
        if name == b"TRAILER!!!\0":
            assert archive[position:].strip(b"\0") == b""
            return entries
        assert inode not in inodes
        inodes.add(inode)
        path = name[:-1].decode()
        assert path not in entries
        data = archive[data_at : data_at + size]
        entries[path] = Entry(mode, (uid, gid), time, (major, minor), data)
