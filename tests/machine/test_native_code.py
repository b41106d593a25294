"""C code beside a module is found, or one sentence says why it cannot be used."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from xenolith.hypervisor.pv import native_mmu
from xenolith.machine.native_code import Sizes, load_beside

MMU = (native_mmu.__file__, "_mmu", "the code", ValueError, ctypes.CDLL)


def test_code_that_is_not_built_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the code is not built: reinstall xenolith"):
        load_beside(str(tmp_path / "module.py"), *MMU[1:])


def test_code_of_other_sizes_is_of_another_version() -> None:
    size = load_beside(*MMU).xenolith_mmu_size()
    load_beside(*MMU, Sizes("xenolith_mmu_size", size))
    with pytest.raises(ValueError, match="the code is of another version: reinstall xenolith"):
        load_beside(*MMU, Sizes("xenolith_mmu_size", size + 1))
