"""Once a disk in use has a snapshot, others may read what it was, but nobody may change that."""

from __future__ import annotations

from pathlib import Path

import pytest
from disk_model import create_dynamic, pattern, read, write

from xenolith.storage import changes
from xenolith.storage.errors import ImageError
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_file
from xenolith.storage.open import open_image
from xenolith.storage.snapshot import snapshot

SIZE = 8 << 20


def test_clones_of_the_past_of_a_disk_in_use(tmp_path: Path) -> None:
    leaf, new, clone = (tmp_path / name for name in ("disk.vhd", "new.vhd", "clone.vhd"))
    create_dynamic(leaf, SIZE)
    image = open_image(leaf, "vhd", writable=True)
    write(image, 0, pattern(4096, 1))
    with pytest.raises(ImageError, match="is in use"):
        open_image(leaf, "vhd", writable=False)
    new.touch()
    changes.snapshot(image, open_file(new, Access.WRITE))
    write(image, 0, pattern(4096, 2))
    snapshot(leaf, "vhd", clone)
    with pytest.raises(ImageError, match="is in use"):
        open_image(leaf, "vhd", writable=True)
    other = open_image(clone, "vhd", writable=True)
    assert read(other, 0, 4096) == pattern(4096, 1)
    write(other, 0, pattern(4096, 3))
    assert read(image, 0, 4096) == pattern(4096, 2)
    other.close()
    image.close()
    open_image(leaf, "vhd", writable=True).close()
