"""Making an image of the open files of a VHD and its ancestors; opens nothing."""

from __future__ import annotations

from collections.abc import Sequence

from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.image import SECTOR_SIZE
from xenolith.storage.raw import RawImage
from xenolith.storage.vhd.chain import Chain
from xenolith.storage.vhd.header import NO_PARENT
from xenolith.storage.vhd.layer import FlatLayer, Layer
from xenolith.storage.vhd.metadata import read_metadata
from xenolith.storage.vhd.sparse_layer import SparseLayer
from xenolith.storage.vhd.writable_layer import WritableLayer


def vhd_from(files: Sequence[ImageFile], *, read_only: bool) -> RawImage | Chain:
    """The image that a chain's files make up, leaf first; it owns them.

    ImageError unless each is the parent of the one before.
    """
    leaf = files[0]
    metadata = read_metadata(leaf)
    if metadata.header is None:
        _check_end(files, 1)
        return RawImage(leaf, read_only=read_only, size=metadata.size)
    top = SparseLayer(leaf, metadata) if read_only else WritableLayer(leaf, metadata)
    return Chain(top, parent_layers(files))


def parent_layers(files: Sequence[ImageFile]) -> list[Layer]:
    """The layers below a VHD, which is the first of the files."""
    layers: list[Layer] = []
    child = read_metadata(files[0])
    while child.is_differencing:
        assert child.header is not None
        at = len(layers) + 1
        if at == len(files):
            raise ImageError(f"the parent of {files[-1].name} is missing")
        file = files[at]
        if child.header.parent_id == NO_PARENT:
            layers.append(FlatLayer(file, -(-file.size // SECTOR_SIZE) * SECTOR_SIZE))
            break
        parent = read_metadata(file)
        if parent.footer.unique_id != child.header.parent_id:
            raise ImageError(f"{file.name} is not the parent of {files[at - 1].name}")
        sparse = parent.header is not None
        layers.append(SparseLayer(file, parent) if sparse else FlatLayer(file, parent.size))
        child = parent
    _check_end(files, len(layers) + 1)
    return layers


def _check_end(files: Sequence[ImageFile], expected: int) -> None:
    if len(files) > expected:
        raise ImageError(f"{files[expected].name} is no ancestor of {files[0].name}")
