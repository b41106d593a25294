"""Finding the parent of a differencing VHD by its locators, and making sure that it is the one."""

from __future__ import annotations

import os
from collections.abc import Iterator

from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_file, open_locked
from xenolith.storage.vhd import locator, timestamp
from xenolith.storage.vhd.header import NO_PARENT, Header
from xenolith.storage.vhd.metadata import read_metadata

_LONGEST_CHAIN = 256


def open_chain(leaf: ImageFile) -> list[ImageFile]:
    """Open and lock the ancestors of an open image; return all files of the chain, leaf first.

    ImageError where a parent is missing, in use for writing, or not what its child was made of.
    On an error the ancestors are closed, the leaf is not.
    """
    files = [leaf]
    try:
        while head := parent_header(files[-1]):
            if len(files) == _LONGEST_CHAIN:
                raise ImageError(f"{leaf.name} has more than {_LONGEST_CHAIN - 1} ancestors")
            parent = open_parent(files[-1], head)
            files.append(parent)
            _check_loop(files)
            check_unchanged(files[-2], head, parent)
            if head.parent_id == NO_PARENT:
                break
    except BaseException:
        for file in files[1:]:
            file.close()
        raise
    return files


def parent_header(file: ImageFile) -> Header | None:
    """The header of an image that has a parent."""
    metadata = read_metadata(file)
    return metadata.header if metadata.is_differencing else None


def open_parent(child: ImageFile, head: Header, access: Access = Access.READ) -> ImageFile:
    """Open and lock the parent that a child's header names."""
    return open_locked(find_parent(child, head), access)


def find_parent(child: ImageFile, head: Header) -> str:
    """The path of the parent that a child's header names; ImageError where there is none."""
    rejected = []
    for path in paths(child, head):
        if not os.path.exists(path):
            rejected.append(f"{path} does not exist")
            continue
        file = open_file(path, Access.READ)
        try:
            reason = _not_the_parent(file, head)
        finally:
            file.close()
        if reason is None:
            return path
        rejected.append(reason)
    reasons = ", ".join(rejected) or "its header names none"
    raise ImageError(f"the parent of {child.name} cannot be found: {reasons}")


def paths(child: ImageFile, head: Header) -> list[str]:
    """Where a child's parent may be, the most likely place first."""
    return list(dict.fromkeys(_paths(child, head)))


def _paths(child: ImageFile, head: Header) -> Iterator[str]:
    directory = os.path.dirname(os.path.realpath(child.name))
    by_code = {entry.code: entry for entry in head.locators}
    for code in locator.BY_PREFERENCE:
        entry = by_code.get(code)
        if entry is not None and 0 < entry.length <= locator.LONGEST:
            data = child.read(entry.offset, entry.length)
            try:
                found = list(locator.decode(code, data, directory))
                for path in found:
                    os.fsencode(path)
            except (UnicodeError, ValueError):
                continue
            yield from (path for path in found if path != directory)
    if head.parent_name:
        name = head.parent_name.replace("\\", "/").rpartition("/")[2]
        yield os.path.join(directory, name)


def _not_the_parent(file: ImageFile, head: Header) -> str | None:
    """Why an image is not the one that a child's header means."""
    if head.parent_id == NO_PARENT:
        return None
    found = read_metadata(file).footer.unique_id
    if found == head.parent_id:
        return None
    return f"{file.name} has the UUID {found}, not {head.parent_id}"


def _check_loop(files: list[ImageFile]) -> None:
    status = [os.fstat(file.fd) for file in files]
    if any(os.path.samestat(status[-1], earlier) for earlier in status[:-1]):
        raise ImageError(f"{files[-1].name} is its own ancestor")


def check_unchanged(child: ImageFile, head: Header, parent: ImageFile) -> None:
    """ImageError if a parent was modified after its child was made of it."""
    noted, found = head.parent_timestamp, timestamp.modification_time(parent)
    if noted != found and timestamp.UNKNOWN not in (noted, found):
        raise ImageError(
            f"{parent.name} was modified after {child.name} was made of it, which may have spoilt "
            f"that; if its contents are still the same, run 'vhd repair --accept-parent {child.name}'"
        )
