"""A jailed process, which can open no files, serves chains and changes them."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from disk_model import MIB, contents, create_child, create_dynamic, pattern, write

from xenolith.machine import jail
from xenolith.storage import changes
from xenolith.storage.file import ImageFile
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_file
from xenolith.storage.open import image_from, locate, open_image

SIZE = 16 * MIB


def in_jail(work: Callable[[], None]) -> None:
    """Do something in a process that is jailed before."""
    child = os.fork()
    if not child:
        status = 1
        try:
            jail.enter()
            with pytest.raises(PermissionError):
                os.open("/etc/passwd", os.O_RDONLY)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("base", ["dynamic", "raw"])
def test_everything_that_is_done_to_a_running_guests_disk(tmp_path: Path, base: str) -> None:
    first = tmp_path / "0"
    if base == "raw":
        first.write_bytes(bytes(SIZE))
    else:
        create_dynamic(first, SIZE)
    for number in (1, 2, 3):
        create_child(
            tmp_path / str(number), tmp_path / str(number - 1), raw=base == "raw" and number == 1
        )
    located = locate(tmp_path / "3", "vhd", writable=True)
    (tmp_path / "4").touch()
    new = open_file(tmp_path / "4", Access.WRITE)
    # The chain is then 4, 3, 2, 1, 0; 2 is coalesced, then the leaf.
    paths = [tmp_path / name for name in ("4", "3", "2", "1")]
    middle = [open_file(path, Access.WRITE) for path in paths]
    leaf = [open_file(path, Access.WRITE) for path in (paths[0], paths[1])]

    def work() -> None:
        image = image_from(located.files, "vhd", writable=True)
        write(image, 0, pattern(MIB, 1))
        changes.snapshot(image, new)
        write(image, MIB, pattern(MIB, 2))
        image.write_zeroes(2 * MIB, MIB)
        changes.coalesce(image, 2, middle)
        write(image, 3 * MIB, pattern(MIB, 3))
        changes.coalesce(image, 0, leaf)
        changes.resize(image, 2 * SIZE)
        write(image, 2 * SIZE - MIB, pattern(MIB, 4))
        image.flush()
        assert image.readv_nowait([memoryview(bytearray(MIB))], 0) in (True, False)
        image.close()

    in_jail(work)
    located.close()
    close_all([new, *middle, *leaf])
    expected = bytearray(2 * SIZE)
    for number, at in enumerate((0, MIB, 3 * MIB, 2 * SIZE - MIB), start=1):
        expected[at : at + MIB] = pattern(MIB, number)
    assert contents(tmp_path / "3") == expected
    image = open_image(tmp_path / "3", "vhd", writable=True)
    assert [Path(file.name).name for file in image.files] == ["3", "1", "0"]
    image.close()


def close_all(files: list[ImageFile]) -> None:
    for file in files:
        file.close()
