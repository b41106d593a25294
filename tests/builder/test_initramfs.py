"""The guest's ramdisk: the cpio format, the closure of modules, and what is inside."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from xenolith.builder.cpio import CpioWriter
from xenolith.builder.errors import BuildError
from xenolith.builder.initramfs import build_initramfs, modules_alias, modules_dep
from xenolith.builder.kernel_modules import ModuleTree, module_name
from xenolith.cli import assets as program

from .archive import Entry, read_archive
from .images import kernel_module

ROOT = (0, 0)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=300),
        st.binary(max_size=50),
    )
)
def test_files_come_out_as_they_went_in(files: dict[str, bytes]) -> None:
    stream = io.BytesIO()
    files.pop("TRAILER!!!", None)
    with CpioWriter(stream) as archive:
        for path, data in files.items():
            archive.file(path, data)
    assert len(stream.getvalue()) % 512 == 0
    entries = read_archive(stream.getvalue())
    assert {path: entry.data for path, entry in entries.items()} == files


def test_every_kind_of_entry() -> None:
    stream = io.BytesIO()
    with CpioWriter(stream) as archive:
        archive.directory("dev")
        archive.character_device("dev/console", 5, 1)
        archive.file("init", b"#!/bin/sh\n", 0o755)
        archive.symlink("sbin", "bin")
    assert read_archive(stream.getvalue()) == {
        "dev": Entry(stat.S_IFDIR | 0o755, ROOT, 0, (0, 0), b""),
        "dev/console": Entry(stat.S_IFCHR | 0o600, ROOT, 0, (5, 1), b""),
        "init": Entry(stat.S_IFREG | 0o755, ROOT, 0, (0, 0), b"#!/bin/sh\n"),
        "sbin": Entry(stat.S_IFLNK | 0o777, ROOT, 0, (0, 0), b"bin"),
    }


def test_a_failed_archive_gets_no_trailer() -> None:
    stream = io.BytesIO()
    with pytest.raises(RuntimeError), CpioWriter(stream) as archive:
        archive.directory("bin")
        raise RuntimeError
    assert b"TRAILER" not in stream.getvalue()


MODULES = {
    "drivers/block/xen-blkfront.ko": kernel_module(
        alias=["xenblk", "xen:vbd"], depends="", name="xen_blkfront"
    ),
    "drivers/net/xen-netfront.ko": kernel_module(alias="xen:vif", depends="", name="xen_netfront"),
    "drivers/xen/xenfs/xenfs.ko": kernel_module(depends="xen-privcmd"),
    "drivers/xen/xen-privcmd.ko": kernel_module(depends=""),
    "drivers/xen/xen-evtchn.ko": kernel_module(depends=""),
    "drivers/xen/xen-gntdev.ko": kernel_module(depends=""),
    "fs/ext4/ext4.ko": kernel_module(alias="fs-ext4", depends="jbd2,mbcache,crc16"),
    "fs/jbd2/jbd2.ko": kernel_module(depends="mbcache"),
    "fs/mbcache.ko": kernel_module(depends=""),
    "lib/crc16.ko": kernel_module(depends=""),
    "drivers/unwanted.ko": kernel_module(depends="missing"),
}


@pytest.fixture
def modules_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "6.1.0-test"
    for path, data in MODULES.items():
        file = directory / "kernel" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (directory / "modules.builtin").write_text("kernel/drivers/xen/xen-gntalloc.ko\n")
    return directory


def test_the_closure_puts_each_module_after_what_it_needs(modules_directory: Path) -> None:
    modules = ModuleTree(modules_directory).closure(["ext4", "xenfs", "xen_gntalloc", "jbd2"])
    names = [module.name for module in modules]
    assert names == ["mbcache", "jbd2", "crc16", "ext4", "xen_privcmd", "xenfs"]
    assert modules[3].depends == ("jbd2", "mbcache", "crc16")
    assert modules[3].path == "kernel/fs/ext4/ext4.ko"
    assert modules[3].data == MODULES["fs/ext4/ext4.ko"]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".xz", lzma.compress), (".gz", gzip.compress), (".zst", zstandard.compress)],
)
def test_compressed_modules_are_unpacked(
    suffix: str, pack: Callable[[bytes], bytes], modules_directory: Path
) -> None:
    for path, data in MODULES.items():
        file = modules_directory / "kernel" / path
        file.with_name(file.name + suffix).write_bytes(pack(data))
        file.unlink()
    (module,) = ModuleTree(modules_directory).closure(["xen_blkfront"])
    assert module.path == "kernel/drivers/block/xen-blkfront.ko"
    assert module.data == MODULES["drivers/block/xen-blkfront.ko"]
    assert module.aliases == ("xenblk", "xen:vbd")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nvme", "the kernel 6.1.0-test has no module nvme"),
        ("unwanted", "the kernel 6.1.0-test has no module missing"),
    ],
)
def test_a_missing_module_is_named(name: str, message: str, modules_directory: Path) -> None:
    with pytest.raises(BuildError, match=message):
        ModuleTree(modules_directory).closure([name])


def test_a_module_without_modinfo_is_refused(modules_directory: Path) -> None:
    damaged = MODULES["fs/mbcache.ko"].replace(b".modinfo", b".garbage")
    (modules_directory / "kernel/fs/mbcache.ko").write_bytes(damaged)
    with pytest.raises(BuildError, match=r"mbcache\.ko has no section \.modinfo"):
        ModuleTree(modules_directory).closure(["mbcache"])


def test_names_of_modules() -> None:
    assert module_name("xen-blkfront.ko.zst") == module_name("xen_blkfront.ko") == "xen_blkfront"


def test_depmods_files(modules_directory: Path) -> None:
    modules = ModuleTree(modules_directory).closure(["ext4", "xen_blkfront"])
    assert modules_dep(modules).splitlines() == [
        "kernel/fs/mbcache.ko:",
        "kernel/fs/jbd2/jbd2.ko: kernel/fs/mbcache.ko",
        "kernel/lib/crc16.ko:",
        "kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko",
        "kernel/drivers/block/xen-blkfront.ko:",
    ]
    assert modules_alias(modules).splitlines() == [
        "alias fs-ext4 ext4",
        "alias xenblk xen_blkfront",
        "alias xen:vbd xen_blkfront",
    ]


def ramdisk(modules_directory: Path) -> bytes:
    busybox = modules_directory.parent / "busybox"
    busybox.write_bytes(b"\x7fELF static busybox")
    stream = io.BytesIO()
    build_initramfs(busybox, program.INIT, ModuleTree(modules_directory), stream)
    return stream.getvalue()


def test_the_ramdisk_holds_what_the_kernel_calls(modules_directory: Path) -> None:
    entries = read_archive(ramdisk(modules_directory))
    for path in ("init", "sbin/poweroff", "sbin/reboot", "bin/busybox"):
        assert stat.S_ISREG(entries[path].mode)
        assert entries[path].mode & 0o111 == 0o111
    for link in ("sbin/modprobe", "bin/sh"):
        target = os.path.normpath(os.path.join(os.path.dirname(link), entries[link].data.decode()))
        assert target == "bin/busybox"
    assert entries["dev/console"].device == (5, 1)
    assert "lib/modules/6.1.0-test/kernel/fs/jbd2/jbd2.ko" in entries
    assert "lib/modules/6.1.0-test/modules.dep" in entries
    assert not any("unwanted" in path for path in entries)
    for path in entries:
        parent = os.path.dirname(path)
        assert not parent or stat.S_ISDIR(entries[parent].mode)


def test_a_directory_comes_before_what_it_holds(modules_directory: Path) -> None:
    paths = list(read_archive(ramdisk(modules_directory)))
    for index, path in enumerate(paths):
        parent = os.path.dirname(path)
        assert not parent or parent in paths[:index]


def test_the_ramdisk_is_deterministic(modules_directory: Path) -> None:
    assert ramdisk(modules_directory) == ramdisk(modules_directory)
