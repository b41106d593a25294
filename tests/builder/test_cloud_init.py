"""NoCloud seeds are what stock programs, and cloud-init through them, take them for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.builder.cloud_init import MAX_USER_DATA, nocloud_seed
from xenolith.builder.errors import BuildError
from xenolith.builder.iso9660 import BLOCK, iso9660

USER_DATA = b"#cloud-config\nhostname: example\n"


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program}")


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def file_of(image: bytes, name: str) -> bytes:
    """The contents of a file, found by its directory record."""
    root = image[20 * BLOCK : 21 * BLOCK]
    at = 0
    while root[at]:
        if root[at + 33 : at + 33 + root[at + 32]] == name.encode():
            block = int.from_bytes(root[at + 2 : at + 6], "little")
            length = int.from_bytes(root[at + 10 : at + 14], "little")
            assert block == int.from_bytes(root[at + 6 : at + 10], "big")
            assert length == int.from_bytes(root[at + 14 : at + 18], "big")
            return image[block * BLOCK : block * BLOCK + length]
        at += root[at]
    raise AssertionError(f"no file {name}")


@given(st.dictionaries(st.from_regex(r"[a-z-]{1,20}", fullmatch=True), st.binary(), max_size=8))
def test_files_are_where_the_directory_says(files: dict[str, bytes]) -> None:
    image = iso9660("cidata", files)
    assert len(image) % BLOCK == 0
    assert int.from_bytes(image[16 * BLOCK + 80 : 16 * BLOCK + 84], "little") == len(image) // BLOCK
    for name, data in files.items():
        assert file_of(image, name) == data


def test_more_files_than_a_directory_holds() -> None:
    with pytest.raises(BuildError, match="too many"):
        iso9660("cidata", {f"file-{number}": b"" for number in range(100)})


@needs("blkid")
def test_cloud_init_finds_it_by_its_label(tmp_path: Path) -> None:
    seed = tmp_path / "seed.iso"
    seed.write_bytes(nocloud_seed(USER_DATA, "guest"))
    output = run("blkid", "-p", "-o", "export", seed)
    assert "LABEL=cidata" in output.splitlines()
    assert "TYPE=iso9660" in output.splitlines()


@needs("xorriso")
def test_a_stock_program_reads_the_files(tmp_path: Path) -> None:
    seed = tmp_path / "seed.iso"
    seed.write_bytes(nocloud_seed(USER_DATA, "guest"))
    run("xorriso", "-osirrox", "on", "-indev", seed, "-extract", "/", tmp_path / "out")
    found = {path.name.lower(): path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert found["user-data"] == USER_DATA
    assert set(found) == {"user-data", "meta-data"}


def test_the_identity_changes_with_what_the_guest_is_told() -> None:
    def meta_data(user_data: bytes, hostname: str) -> dict[str, str]:
        plain: dict[str, str] = json.loads(file_of(nocloud_seed(user_data, hostname), "meta-data"))
        return plain

    first = meta_data(USER_DATA, "one")
    assert first["local-hostname"] == "one"
    assert re.fullmatch(r"iid-[0-9a-f]{16}", first["instance-id"])
    assert meta_data(USER_DATA, "one") == first
    others = [meta_data(USER_DATA, "two"), meta_data(USER_DATA + b"\n", "one")]
    assert len({first["instance-id"], *(other["instance-id"] for other in others)}) == 3


@pytest.mark.parametrize("user_data", [b"", b"hostname: example\n", b"#cloud\n", bytes(100)])
def test_what_cloud_init_would_ignore_is_refused(user_data: bytes) -> None:
    with pytest.raises(BuildError, match="#cloud-config"):
        nocloud_seed(user_data, "guest")


def test_too_much_user_data() -> None:
    with pytest.raises(BuildError, match="1048576 at most"):
        nocloud_seed(b"#!/bin/sh\n".ljust(MAX_USER_DATA + 1), "guest")
