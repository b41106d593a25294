"""What there is to know about a VHD, as plain data with the names of the specification."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from xenolith.storage.file import ImageFile
from xenolith.storage.vhd import parent, timestamp
from xenolith.storage.vhd.allocation_table import AllocationTable
from xenolith.storage.vhd.header import NO_PARENT
from xenolith.storage.vhd.metadata import Metadata, read_metadata


def describe(file: ImageFile) -> dict[str, Any]:
    """An open VHD; sizes are bytes."""
    metadata = read_metadata(file)
    foot = metadata.footer
    status = os.fstat(file.fd)
    facts: dict[str, Any] = {
        "filename": file.name,
        "format": "vhd",
        "type": foot.disk_type.name.lower(),
        "virtual-size": metadata.size,
        "file-size": file.size,
        "allocated-size": status.st_blocks * 512,
        "uuid": str(foot.unique_id),
        "created": _date(foot.timestamp),
        "creator": foot.creator.decode("latin-1").rstrip("\0 "),
        "creator-version": f"{foot.creator_version >> 16}.{foot.creator_version & 0xFFFF}",
        "original-size": foot.original_size,
        "current-size": foot.current_size,
        "geometry": "/".join(map(str, foot.geometry)),
        "hidden": bool(foot.hidden),
    }
    facts |= _blocks(file, metadata)
    facts |= _parent(file, metadata)
    return facts


def _blocks(file: ImageFile, metadata: Metadata) -> dict[str, Any]:
    head = metadata.header
    if head is None:
        return {}
    table = AllocationTable(file, head.table_offset, head.entries)
    return {
        "block-size": head.block_size,
        "blocks": head.entries,
        "allocated-blocks": sum(1 for _ in table.allocated()),
    }


def _parent(file: ImageFile, metadata: Metadata) -> dict[str, Any]:
    head = metadata.header
    if head is None or not metadata.is_differencing:
        return {}
    is_raw = head.parent_id == NO_PARENT
    found = next((path for path in parent.paths(file, head) if os.path.exists(path)), None)
    return {
        "parent": found or next(iter(parent.paths(file, head)), None),
        "parent-format": "raw" if is_raw else "vhd",
        "parent-uuid": None if is_raw else str(head.parent_id),
        "parent-modified": _date(head.parent_timestamp) if head.parent_timestamp else None,
        "parent-locators": [
            entry.code.decode("latin-1") for entry in head.locators if any(entry.code)
        ],
    }


def _date(stamp: int) -> str:
    return datetime.fromtimestamp(timestamp.to_unix(stamp), UTC).isoformat()
