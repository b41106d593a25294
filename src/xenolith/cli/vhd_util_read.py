"""What `vhd-util read -p` prints: the headers of an image, line by line as blktap2's does."""

from __future__ import annotations

import time
from collections.abc import Iterator

from xenolith.storage.file import ImageFile
from xenolith.storage.vhd import batmap, timestamp
from xenolith.storage.vhd.footer import Footer
from xenolith.storage.vhd.header import Header
from xenolith.storage.vhd.metadata import read_metadata

_TYPES = {2: "Fixed hard disk", 3: "Dynamic hard disk", 4: "Differencing hard disk"}
_SYSTEMS = {b"Wi2k": "Windows", b"Mac ": "Macintosh"}


def lines(file: ImageFile) -> Iterator[str]:
    """The lines about an open image."""
    metadata = read_metadata(file)
    yield from _footer(metadata.footer)
    if metadata.header is not None:
        yield from _header(metadata.header)
        if metadata.is_differencing:
            yield from _locators(file, metadata.header)
        if batmap.is_there(file, metadata.footer, metadata.header):
            yield from _batmap(metadata.header)


def _footer(foot: Footer) -> Iterator[str]:
    checksum = int.from_bytes(foot.pack()[64:68], "big")
    flags = ("<TEMP>" if foot.features & 1 else "") + ("<RESV>" if foot.features & 2 else "")
    cylinders, heads, sectors = foot.geometry
    yield from ("VHD Footer Summary:", "-------------------")
    yield "Cookie              : conectix"
    yield f"Features            : (0x{foot.features:08x}) {flags}"
    yield f"File format version : {_version(foot.version)}"
    yield f"Data offset         : {foot.data_offset}"
    yield f"Timestamp           : {_date(foot.timestamp)}"
    creator = foot.creator.decode("latin-1").partition("\0")[0]
    yield f"Creator Application : '{creator}'"
    yield f"Creator version     : {_version(foot.creator_version)}"
    yield f"Creator OS          : {_SYSTEMS.get(foot.creator_os, 'Unknown!')}"
    yield f"Original disk size  : {foot.original_size >> 20} MB ({foot.original_size} Bytes)"
    yield f"Current disk size   : {foot.current_size >> 20} MB ({foot.current_size} Bytes)"
    yield f"Geometry            : Cyl: {cylinders}, Hds: {heads}, Sctrs: {sectors}"
    yield f"                    : = {foot.geometry.size >> 20} MB ({foot.geometry.size} Bytes)"
    yield f"Disk type           : {_TYPES[foot.disk_type]}"
    yield f"Checksum            : 0x{checksum:x}|0x{checksum:x} (Good!)"
    yield f"UUID                : {foot.unique_id}"
    yield f"Saved state         : {'Yes' if foot.saved_state else 'No'}"
    yield f"Hidden              : {foot.hidden}"
    yield ""


def _header(head: Header) -> Iterator[str]:
    checksum = int.from_bytes(head.pack()[36:40], "big")
    yield from ("VHD Header Summary:", "-------------------")
    yield "Cookie              : cxsparse"
    yield f"Data offset (unusd) : {0xFFFFFFFFFFFFFFFF}"
    yield f"Table offset        : {head.table_offset}"
    yield "Header version      : 0x00010000"
    yield f"Max BAT size        : {head.entries}"
    yield f"Block size          : {head.block_size} ({head.block_size >> 20} MB)"
    yield f"Parent name         : {head.parent_name}"
    yield f"Parent UUID         : {head.parent_id}"
    yield f"Parent timestamp    : {_date(head.parent_timestamp)}"
    yield f"Checksum            : 0x{checksum:x}|0x{checksum:x} (Good!)"
    yield ""


def _locators(file: ImageFile, head: Header) -> Iterator[str]:
    yield from ("VHD Parent Locators:", "--------------------")
    for number, entry in enumerate(head.locators):
        if not any(entry.code):
            continue
        encoding = "utf-8" if entry.code == b"MacX" else "utf-16-le"
        path = file.read(entry.offset, min(entry.length, 1 << 16)).decode(encoding, "replace")
        yield f"locator:            : {number}"
        yield f"       code         : PLAT_CODE_{entry.code.decode('latin-1').upper()}"
        yield f"       data_space   : {entry.space}"
        yield f"       data_length  : {entry.length}"
        yield f"       data_offset  : {entry.offset}"
        path = path.partition("\0")[0].removeprefix("file://").replace("\\", "/")
        yield f"       decoded name : {path}"
        yield ""


def _batmap(head: Header) -> Iterator[str]:
    yield from ("VHD Batmap Summary:", "-------------------")
    yield f"Batmap offset       : {batmap.offset_of(head)}"
    yield f"Batmap size (secs)  : {(batmap.size_of(head.entries) >> 9) - 1}"
    yield ""


def _version(number: int) -> str:
    return f"Major: {number >> 16}, Minor: {number & 0xFFFF}"


def _date(stamp: int) -> str:
    return time.asctime(time.localtime(timestamp.to_unix(stamp)))
