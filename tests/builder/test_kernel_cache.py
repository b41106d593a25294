"""The cache of unpacked kernels."""

from __future__ import annotations

import multiprocessing
import os
import stat
import time
from pathlib import Path

import pytest

from xenolith.builder.cache_directory import cache_directory
from xenolith.builder.errors import BuildError
from xenolith.builder.image_file import ImageFile
from xenolith.builder.kernel_cache import KernelCache
from xenolith.builder.packed_kernel import unpack_kernel

from .images import PACKERS, bzimage

CONTENT = b"\x7fELF kernel " * 1000


@pytest.fixture
def cache(tmp_path: Path) -> KernelCache:
    return KernelCache(tmp_path / "cache")


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "vmlinuz"
    path.write_bytes(bzimage(PACKERS["zstd"](CONTENT)))
    return path


def opened(path: Path) -> ImageFile:
    return ImageFile(os.open(path, os.O_RDONLY), path.name)


def unpack(cache: KernelCache, path: Path) -> None:
    kernel = opened(path)
    slot = cache.open_slot(kernel)
    unpack_kernel(kernel, slot.fd)
    cache.commit(slot)
    os.close(kernel.fd)


def cached(cache: KernelCache, path: Path) -> bytes | None:
    kernel = opened(path)
    fd = cache.lookup(kernel)
    os.close(kernel.fd)
    if fd is None:
        return None
    content = os.pread(fd, 1 << 20, 0)
    os.close(fd)
    return content


def entries(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "cache").iterdir() if p.is_file())


def test_a_committed_kernel_is_found_again(cache: KernelCache, packed: Path) -> None:
    assert cached(cache, packed) is None
    unpack(cache, packed)
    assert cached(cache, packed) == CONTENT


def test_a_disk_without_room_is_done_without(
    cache: KernelCache, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)
    fields = list(real)
    fields[4] = (len(CONTENT) - 1) // real.f_frsize  # f_bavail
    with monkeypatch.context() as full:
        full.setattr(os, "statvfs", lambda _path: os.statvfs_result(fields))
        kernel = opened(packed)
        slot = cache.open_slot(kernel)
        unpack_kernel(kernel, slot.fd)
        assert os.pread(slot.fd, 1 << 20, 0) == CONTENT
        cache.commit(slot)
        os.close(kernel.fd)
    assert entries(tmp_path) == []
    assert cached(cache, packed) is None


def test_another_process_finds_it_without_reading_the_packed_kernel(
    cache: KernelCache, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack(cache, packed)

    def refuse(*_: object) -> str:
        raise AssertionError("the packed kernel was read")

    monkeypatch.setattr("hashlib.file_digest", refuse)
    assert cached(KernelCache(tmp_path / "cache"), packed) == CONTENT


def test_a_copy_of_the_kernel_is_found_by_its_content(
    cache: KernelCache, packed: Path, tmp_path: Path
) -> None:
    unpack(cache, packed)
    copy = tmp_path / "copy"
    copy.write_bytes(packed.read_bytes())
    assert cached(cache, copy) == CONTENT
    assert len(entries(tmp_path)) == 1


def test_a_changed_kernel_is_not_mistaken_for_the_old_one(cache: KernelCache, packed: Path) -> None:
    unpack(cache, packed)
    before = packed.stat()
    data = bytearray(packed.read_bytes())
    data[-10] ^= 1
    with packed.open("r+b") as file:
        file.write(data)
    os.utime(packed, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cached(cache, packed) is None


def test_a_discarded_slot_leaves_nothing(cache: KernelCache, packed: Path, tmp_path: Path) -> None:
    kernel = opened(packed)
    slot = cache.open_slot(kernel)
    os.write(slot.fd, b"half a ker")
    cache.discard(slot)
    os.close(kernel.fd)
    assert entries(tmp_path) == []
    assert cached(cache, packed) is None


def test_an_entry_cut_short_by_a_crash_is_not_used(
    cache: KernelCache, packed: Path, tmp_path: Path
) -> None:
    unpack(cache, packed)
    (entry,) = entries(tmp_path)
    os.truncate(tmp_path / "cache" / entry, 100)
    assert cached(cache, packed) is None
    unpack(cache, packed)
    assert cached(cache, packed) == CONTENT


def test_a_read_only_cache_still_gives_a_slot(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = KernelCache(tmp_path / "file" / "cache")
    kernel = opened(packed)
    slot = cache.open_slot(kernel)
    unpack_kernel(kernel, slot.fd)
    assert os.pread(slot.fd, 1 << 20, 0) == CONTENT
    cache.commit(slot)
    os.close(kernel.fd)


def test_the_least_recently_used_kernels_go(cache: KernelCache, tmp_path: Path) -> None:
    paths = []
    for index in range(10):
        path = tmp_path / f"vmlinuz{index}"
        path.write_bytes(bzimage(PACKERS["gzip"](CONTENT + bytes([index]))))
        paths.append(path)
        unpack(cache, path)
        assert cached(cache, paths[0]) is not None
    assert len(entries(tmp_path)) == 8
    assert cached(cache, paths[1]) is None
    assert len(list((tmp_path / "cache" / "index").iterdir())) == 8


def test_abandoned_temporary_files_go_and_fresh_ones_stay(
    cache: KernelCache, packed: Path, tmp_path: Path
) -> None:
    kernel = opened(packed)
    slots = [cache.open_slot(kernel), cache.open_slot(kernel)]
    assert slots[0].path is not None
    assert slots[1].path is not None
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(slots[0].path, (long_ago, long_ago))
    unpack(cache, packed)
    assert not slots[0].path.exists()
    assert slots[1].path.exists()
    for slot in slots:
        cache.discard(slot)
    os.close(kernel.fd)


def test_what_cannot_be_a_kernel_is_refused(cache: KernelCache, tmp_path: Path) -> None:
    kernel = opened(Path("/dev/null"))
    with pytest.raises(BuildError, match="null is not a regular file"):
        cache.lookup(kernel)
    os.close(kernel.fd)
    huge = tmp_path / "huge"
    huge.touch()
    os.truncate(huge, 1 << 40)
    kernel = opened(huge)
    with pytest.raises(BuildError, match="huge is no kernel: it has 1048576 MiB"):
        cache.open_slot(kernel)
    os.close(kernel.fd)


def _race(directory: Path, path: Path) -> None:
    for _ in range(20):
        cache = KernelCache(directory)
        unpack(cache, path)
        assert cached(cache, path) == CONTENT


def test_concurrent_creates_do_not_disturb_each_other(packed: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_race, args=(tmp_path / "cache", packed)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(entries(tmp_path)) == 1


def test_the_cache_is_private(cache: KernelCache, packed: Path, tmp_path: Path) -> None:
    unpack(cache, packed)
    (entry,) = entries(tmp_path)
    assert stat.S_IMODE((tmp_path / "cache" / entry).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XENOLITH_CACHE_DIR": "/elsewhere", "XDG_CACHE_HOME": "/xdg"}, "/elsewhere"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/xenolith"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/somebody/.cache/xenolith"),
        ({}, "/home/somebody/.cache/xenolith"),
    ],
)
def test_the_place_of_the_cache(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XENOLITH_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(cache_directory()) == expected
