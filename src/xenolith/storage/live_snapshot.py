"""Snapshots of a VHD that is served, which goes on under its own name: what it was gets another.

Between the two steps whoever may rename files gives the old leaf its new name, and the old name to
its child. Whatever happens meanwhile, the file of the old name shows the whole disk.
"""

from __future__ import annotations

import os
from dataclasses import replace

from xenolith.storage import lock
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.live import LiveImage
from xenolith.storage.vhd import timestamp
from xenolith.storage.vhd.chain import Chain
from xenolith.storage.vhd.create import vhd_parent, write_differencing
from xenolith.storage.vhd.open import vhd_from
from xenolith.storage.vhd.rewrite import set_parent_timestamp
from xenolith.storage.vhd.timestamp import UNKNOWN


def prepare(live: LiveImage, child: ImageFile, kept: str) -> None:
    """Make an empty file a child of the leaf, which it calls ``kept``; ImageError, OSError.

    The child is called as the leaf is now. Both names must be absolute and free of symbolic links
    where the process may not look.
    """
    with live.changing, live.gate.alone():
        if live.read_only or not isinstance(live.image, Chain):
            raise ImageError(f"{live.files[0].name} is no dynamic VHD that is open for writing")
        live.image.flush()
        # The leaf is written to for some time yet.
        parent = replace(vhd_parent(live.files[0]), path=kept, timestamp=UNKNOWN)
        write_differencing(child, parent)
        os.fsync(child.fd)


def switch(live: LiveImage, child: ImageFile, kept: str) -> None:
    """Write to a child that was prepared from now on; it belongs to the image. ImageError, OSError."""
    with live.changing, live.gate.alone():
        live.image.flush()
        leaf = ImageFile(live.files[0].fd, kept)
        set_parent_timestamp(child, timestamp.modification_time(leaf))
        live.image = vhd_from([child, leaf, *live.files[1:]], read_only=False)
        # Others may read it from now on, and have children of it as well.
        lock.downgrade(leaf)
