"""What the guests are made from: the distribution's kernel, and small programs built here with gcc."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from bench.errors import BenchError
from xenolith.builder.cpio import CpioWriter
from xenolith.builder.elf import read_elf
from xenolith.builder.elf_notes import xen_notes
from xenolith.builder.image_file import ImageFile
from xenolith.builder.initramfs import peer_modules
from xenolith.builder.kernel_modules import ModuleTree
from xenolith.builder.packed_kernel import is_packed, unpack_kernel

_ROOT = Path(__file__).resolve().parent.parent
_ASSETS = _ROOT / "examples" / "guest" / "cloud"
_SOURCES = _ROOT / "guests" / "bench"
_RUNTIME = _ROOT / "guests" / "abi" / "runtime"
_PV_RUNTIME = _ROOT / "guests" / "pv" / "runtime"

_DISK_DRIVERS = ("xen_blkfront", "virtio_pci", "virtio_blk")
_PROGRAM_FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror", "-static")
_GUEST_FLAGS = (
    *("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-pic"),
    *("-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none"),
    *("-mno-red-zone", "-mgeneral-regs-only", "-nostdlib", "-static", "-no-pie"),
    *("-Wl,-z,noexecstack,--build-id=none", f"-I{_RUNTIME}"),
    "-D__XEN_INTERFACE_VERSION__=__XEN_LATEST_INTERFACE_VERSION__",
)
_PVH_FLAGS = (f"-Wl,-T,{_RUNTIME / 'guest.ld'}",)
_PV_FLAGS = (
    *(f"-Wl,-T,{_PV_RUNTIME / 'guest.ld'}", f"-I{_PV_RUNTIME}"),
    *("-mcmodel=kernel", '-DHYPERCALL_INSTRUCTION="syscall"'),
)

_SAY_AND_SLEEP = bytes.fromhex("b021 e6e9 fb f4 ebfd")
"""The code of first_instruction.S: mov $'!', %al; out %al, $0xe9; sti; 1: hlt; jmp 1b"""


class Images:
    """Kernels and ramdisks, made in a directory when they are first asked for; BenchError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._unpacked: dict[Path, Path] = {}

    @cached_property
    def kernel(self) -> Path:
        """The kernel of Debian's cloud images, packed."""
        return _asset("vmlinuz")

    @cached_property
    def ramdisk(self) -> Path:
        """The ramdisk of the example domain."""
        return _asset("initramfs")

    @cached_property
    def benchmark_ramdisk(self) -> Path:
        """A ramdisk whose init is the guest's benchmark program."""
        program = self._directory / "gbench"
        _compile(*_PROGRAM_FLAGS, "-o", program, _SOURCES / "gbench.c")
        ramdisk = self._directory / "gbench.cpio"
        with ramdisk.open("wb") as stream, CpioWriter(stream) as archive:
            archive.directory("dev")
            archive.character_device("dev/console", 5, 1)
            archive.file("init", program.read_bytes(), 0o755)
        return ramdisk

    @cached_property
    def compute_program(self) -> Path:
        """A program that measures arithmetic and memory, for the host as well."""
        program = self._directory / "computebench"
        _compile(*_PROGRAM_FLAGS, "-o", program, _SOURCES / "computebench.c")
        return program

    @cached_property
    def compute_ramdisk(self) -> Path:
        """A ramdisk whose init is that program."""
        ramdisk = self._directory / "computebench.cpio"
        with ramdisk.open("wb") as stream, CpioWriter(stream) as archive:
            archive.directory("dev")
            archive.character_device("dev/console", 5, 1)
            archive.file("init", self.compute_program.read_bytes(), 0o755)
        return ramdisk

    @cached_property
    def network_ramdisk(self) -> Path:
        """The example's ramdisk, the network benchmark, and `sh /peer` to load the peer's drivers."""
        program = self._directory / "netbench"
        _compile(*_PROGRAM_FLAGS, "-o", program, _SOURCES / "netbench.c")
        (directory,) = (_ASSETS / "modules").iterdir()
        modules = peer_modules(ModuleTree(directory))
        ramdisk = self._directory / "network.cpio"
        with ramdisk.open("wb") as stream:
            stream.write(self.ramdisk.read_bytes())
            # The kernel unpacks one archive after the other.
            with CpioWriter(stream) as archive:
                archive.file("bin/netbench", program.read_bytes(), 0o755)
                for module in modules:
                    archive.file(f"{module.name}.ko", module.data)
                loads = "".join(f"insmod /{module.name}.ko\n" for module in modules)
                archive.file("peer", loads.encode())
        return ramdisk

    @cached_property
    def disk_ramdisk(self) -> Path:
        """A ramdisk whose init measures the disk, with the drivers of Xen's disks and of virtio's."""
        program = self._directory / "diskbench"
        (directory,) = (_ASSETS / "modules").iterdir()
        modules = ModuleTree(directory)
        if not modules.has("virtio_blk"):
            raise BenchError("the drivers of the peer's disks are not there: run `make assets`")
        _compile(*_PROGRAM_FLAGS, "-o", program, _SOURCES / "diskbench.c")
        ramdisk = self._directory / "diskbench.cpio"
        with ramdisk.open("wb") as stream, CpioWriter(stream) as archive:
            archive.directory("dev")
            archive.directory("modules")
            archive.character_device("dev/console", 5, 1)
            archive.file("init", program.read_bytes(), 0o755)
            for number, module in enumerate(modules.closure(_DISK_DRIVERS)):
                archive.file(f"modules/{number:02}-{module.name}.ko", module.data)
        return ramdisk

    @cached_property
    def hypercalls(self) -> Path:
        """A tiny guest that makes hypercalls."""
        image = self._directory / "hypercall"
        runtime = sorted([*_RUNTIME.glob("*.c"), *_RUNTIME.glob("*.S")])
        _compile(*_GUEST_FLAGS, *_PVH_FLAGS, "-o", image, _SOURCES / "hypercall.c", *runtime)
        return image

    @cached_property
    def bounces(self) -> Path:
        """A tiny PV guest whose program traps into its kernel."""
        image = self._directory / "bounce"
        shared = [_RUNTIME / name for name in ("console.c", "report.c", "string.c")]
        runtime = sorted([*_PV_RUNTIME.glob("*.c"), *_PV_RUNTIME.glob("*.S"), *shared])
        # Its own headers come before those of the runtime that it shares.
        _compile(*_PV_FLAGS, *_GUEST_FLAGS, "-o", image, _SOURCES / "bounce.c", *runtime)
        return image

    @cached_property
    def first_instruction(self) -> Path:
        """A tiny guest whose first instructions write to the debug port."""
        image = self._directory / "first_instruction"
        _compile(*_GUEST_FLAGS, *_PVH_FLAGS, "-o", image, _SOURCES / "first_instruction.S")
        return image

    @cached_property
    def kernel_that_says_so(self) -> Path:
        """Debian's kernel, unpacked, its first instructions replaced by those of the tiny guest."""
        original = self.unpack(self.kernel)
        content = bytearray(original.read_bytes())
        with _open(original) as image:
            entry = _entry_offset(image)
        content[entry : entry + len(_SAY_AND_SLEEP)] = _SAY_AND_SLEEP
        patched = self._directory / "vmlinux-that-says-so"
        patched.write_bytes(content)
        return patched

    def unpack(self, kernel: Path) -> Path:
        """The ELF image of a kernel, which may be one already."""
        if kernel not in self._unpacked:
            with _open(kernel) as image:
                self._unpacked[kernel] = self._unpack(image) if is_packed(image) else kernel
        return self._unpacked[kernel]

    def _unpack(self, image: ImageFile) -> Path:
        unpacked = self._directory / "vmlinux"
        with unpacked.open("wb") as file:
            unpack_kernel(image, file.fileno())
        return unpacked


@contextmanager
def _open(path: Path) -> Iterator[ImageFile]:
    with path.open("rb") as file:
        yield ImageFile(file.fileno(), str(path))


def _entry_offset(image: ImageFile) -> int:
    """Where in the file the PVH entry point is."""
    elf = read_elf(image)
    entry = xen_notes(elf).phys32_entry
    for segment in elf.segments:
        if entry is not None and segment.address <= entry < segment.address + segment.file_size:
            return segment.offset + entry - segment.address
    raise BenchError(f"{image.name} has no PVH entry point")


def _asset(name: str) -> Path:
    path = _ASSETS / name
    if not path.exists():
        raise BenchError(f"there is no {path}: run `make assets`")
    return path


def _compile(*arguments: str | Path) -> None:
    try:
        done = subprocess.run(["gcc", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BenchError("gcc is needed to build the guests (package gcc)") from None
    if done.returncode != 0:
        raise BenchError(f"gcc failed: {done.stderr.strip()}")
