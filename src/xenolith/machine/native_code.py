"""Loads the C code beside a module: a shared library without Python in it, called through ctypes."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import NamedTuple, TypeVar

Library = TypeVar("Library", bound=ctypes.CDLL)


class Sizes(NamedTuple):
    """What a function of the library says of its structures, and what that is to be."""

    function: str
    wanted: int


def load_beside(
    module: str,
    name: str,
    what: str,
    error: type[Exception],
    kind: type[Library],
    sizes: Sizes | None = None,
) -> Library:
    """The library ``name`` in the directory of the file ``module``.

    ``error``, with ``what`` for its name, is raised if it is not there, or if its structures are of other
    sizes than ours: built from another version, it would take them for something else.
    """
    for path in Path(module).parent.glob(f"{name}*.so"):
        library = kind(str(path))
        if sizes is not None:
            size_of = getattr(library, sizes.function)
            size_of.restype = ctypes.c_uint64
            if size_of() != sizes.wanted:
                raise error(f"{what} is of another version: reinstall xenolith")
        return library
    raise error(f"{what} is not built: reinstall xenolith with a C compiler")
