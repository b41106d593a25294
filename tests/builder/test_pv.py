"""Building PV domains: what lies where in guest memory, and what the first page tables map."""

from __future__ import annotations

import os
from array import array
from contextlib import ExitStack
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenolith.abi.elfnote import ElfNote
from xenolith.abi.xen_pv import SIF_MOD_START_PFN, START_INFO, StartInfo
from xenolith.builder.errors import BuildError
from xenolith.builder.pv import PvImage, PvPlatform, PvStart, load_pv, plan_pv
from xenolith.builder.pv_layout import PvLayout
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, GuestPhys
from xenolith.machine.memory import MachineMemory

from .images import Load, elf64, image_of, note, number, pvh_note

MIB = 1 << 20
VIRT_BASE = 0xFFFF_FFFF_8000_0000
ENTRY = VIRT_BASE + 16 * MIB + 0x1C0
P2M_BASE = 0x80_0000_0000
FIRST_MFN = 1024
P, RW = 1, 2
ADDRESS = 0x000F_FFFF_FFFF_F000

LOADS = [Load(16 * MIB, b"text" * 1000, 4000), Load(20 * MIB, b"data", 0x2345)]
BASICS = note(ElfNote.GUEST_OS, b"linux\0") + note(ElfNote.XEN_VERSION, b"xen-3.0\0")
LINUX = (
    BASICS
    + note(ElfNote.VIRT_BASE, number(VIRT_BASE))
    + note(ElfNote.ENTRY, number(ENTRY))
    + note(ElfNote.INIT_P2M, number(P2M_BASE))
    + note(ElfNote.MOD_START_PFN, number(1))
    + note(ElfNote.PADDR_OFFSET, number(0))
)
OLDER = BASICS + note(ElfNote.VIRT_BASE, number(VIRT_BASE)) + note(ElfNote.ENTRY, number(ENTRY))
GRUB = BASICS + note(ElfNote.VIRT_BASE, number(0)) + note(ElfNote.ENTRY, number(0))
RAMDISK = b"ramdisk" * 3000


class Memory:
    """Machine memory of which the guest has the frames from FIRST_MFN on."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.machine = MachineMemory(FIRST_MFN + frames)

    def write(self, address: GuestPhys, data: bytes) -> None:
        assert address >= 0 and address + len(data) <= self.frames << PAGE_SHIFT
        self.machine.write(address + (FIRST_MFN << PAGE_SHIFT), data)

    def write_numbers(self, address: GuestPhys, first: int, count: int) -> None:
        self.write(address, array("Q", range(first, first + count)).tobytes())

    def load(self, address: GuestPhys, fd: int, offset: int, size: int) -> int:
        assert address >= 0 and address + size <= self.frames << PAGE_SHIFT
        return self.machine.load(address + (FIRST_MFN << PAGE_SHIFT), fd, offset, size)

    def read(self, pfn: int, size: int, offset: int = 0) -> bytes:
        return self.machine.read((FIRST_MFN + pfn << PAGE_SHIFT) + offset, size)


class Built:
    def __init__(
        self,
        notes: bytes = LINUX,
        ramdisk: bytes | None = RAMDISK,
        command_line: bytes = b"console=hvc0",
        memory_size: int = 64 * MIB,
        loads: list[Load] = LOADS,
    ) -> None:
        frames = memory_size >> PAGE_SHIFT
        self.memory = Memory(frames)
        with ExitStack() as stack:
            kernel = stack.enter_context(image_of(elf64(loads, notes), "vmlinux"))
            file = stack.enter_context(image_of(ramdisk, "initrd")) if ramdisk else None
            self.image: PvImage = plan_pv(kernel, file, frames)
            platform = PvPlatform(frames, FIRST_MFN, 7, console_port=2, xenstore_port=1)
            self.start: PvStart = load_pv(self.image, platform, self.memory, file, command_line)
        self.layout: PvLayout = self.image.layout

    @property
    def start_info(self) -> StartInfo:
        return START_INFO.unpack(self.memory.read(self.layout.start_info, START_INFO.size))

    def mappings(self) -> dict[int, tuple[int, bool]]:
        """Frame and writability by virtual address of a page, found by walking from the top."""
        found = {}

        def walk(mfn: int, shift: int, base: int) -> None:
            words = memoryview(self.memory.machine.read(mfn << PAGE_SHIFT, PAGE_SIZE)).cast("Q")
            for index, entry in enumerate(words.tolist()):
                address = base | index << shift
                if not entry & P:
                    continue
                target = (entry & ADDRESS) >> PAGE_SHIFT
                if shift == PAGE_SHIFT:
                    if address >> 47:
                        address |= 0xFFFF << 48
                    found[address] = target - FIRST_MFN, bool(entry & RW)
                else:
                    walk(target, shift - 9, address)

        walk(FIRST_MFN + self.start.root, 39, 0)
        return found


def test_segments_lie_at_their_physical_addresses() -> None:
    built = Built()
    assert built.memory.read(16 * MIB >> PAGE_SHIFT, 4001) == b"text" * 1000 + b"\0"
    assert built.memory.read(20 * MIB >> PAGE_SHIFT, 5) == b"data\0"


def test_the_start_info_describes_the_domain() -> None:
    built = Built()
    info, layout = built.start_info, built.layout
    assert info.magic.rstrip(b"\0") == b"xen-3.0-x86_64"
    assert info.nr_pages == 64 * MIB >> PAGE_SHIFT
    assert info.shared_info == 7 << PAGE_SHIFT
    assert (info.store_mfn, info.store_evtchn) == (FIRST_MFN + layout.xenstore, 1)
    assert (info.console_mfn, info.console_evtchn) == (FIRST_MFN + layout.console, 2)
    assert info.cmd_line.rstrip(b"\0") == b"console=hvc0"
    assert info.pt_base == VIRT_BASE + (built.start.root << PAGE_SHIFT)
    assert info.mfn_list == P2M_BASE
    assert info.flags & SIF_MOD_START_PFN
    assert built.memory.read(info.mod_start, info.mod_len) == RAMDISK
    assert built.start.entry == ENTRY
    assert built.start.start_info == VIRT_BASE + (layout.start_info << PAGE_SHIFT)


def test_everything_from_the_base_on_is_mapped_and_page_tables_are_read_only() -> None:
    built = Built()
    layout, mappings = built.layout, built.mappings()
    tables = range(layout.page_tables.pfn, layout.page_tables.end)
    kernel = {address: to for address, to in mappings.items() if address >= VIRT_BASE}
    assert kernel == {
        VIRT_BASE + (pfn << PAGE_SHIFT): (pfn, pfn not in tables) for pfn in range(layout.mapped)
    }
    # What the ABI promises to be mapped behind the stack.
    assert (layout.mapped - layout.stack - 1) << PAGE_SHIFT >= 512 << 10


def test_the_list_of_frames_is_where_the_kernel_wants_it() -> None:
    built = Built()
    low = {address: to for address, to in built.mappings().items() if address < VIRT_BASE}
    pages = built.memory.frames * 8 // PAGE_SIZE
    first = built.layout.p2m.pfn
    assert low == {P2M_BASE + page * PAGE_SIZE: (first + page, True) for page in range(pages)}
    listed = memoryview(built.memory.read(first, built.memory.frames * 8)).cast("Q").tolist()
    assert listed == list(range(FIRST_MFN, FIRST_MFN + built.memory.frames))
    info = built.start_info
    assert info.first_p2m_pfn == first >= built.layout.mapped
    # Its own page tables belong to it: the kernel frees all of it.
    assert info.nr_p2m_frames == pages + 3


@pytest.mark.parametrize(
    ("notes", "base"),
    [(OLDER, VIRT_BASE), (GRUB, 0), (BASICS, 0)],
    ids=["older", "grub", "by the ELF header"],
)
def test_kernels_without_the_newer_notes_have_all_mapped(notes: bytes, base: int) -> None:
    built = Built(notes, loads=LOADS)
    info, layout, mappings = built.start_info, built.layout, built.mappings()
    assert not info.flags & SIF_MOD_START_PFN
    for address, size in ((info.mod_start, len(RAMDISK)), (info.mfn_list, 8 * info.nr_pages)):
        assert base <= address
        assert address + size <= base + (layout.mapped << PAGE_SHIFT)
    pfn, _ = mappings[info.mod_start]
    assert built.memory.read(pfn, len(RAMDISK)) == RAMDISK
    assert (info.first_p2m_pfn, info.nr_p2m_frames) == (0, 0)
    assert set(mappings) == {base + (pfn << PAGE_SHIFT) for pfn in range(layout.mapped)}


def test_a_domain_may_have_no_ramdisk() -> None:
    info = Built(ramdisk=None).start_info
    assert (info.mod_start, info.mod_len, info.flags & SIF_MOD_START_PFN) == (0, 0, 0)


def test_hypercall_pages_hold_a_stub_for_each_number() -> None:
    page = VIRT_BASE + 17 * MIB
    built = Built(LINUX + note(ElfNote.HYPERCALL_PAGE, number(page)))
    stubs = built.memory.read(17 * MIB >> PAGE_SHIFT, PAGE_SIZE)
    # push rcx; push r11; mov eax, 17; syscall; pop r11; pop rcx; ret
    assert stubs[17 * 32 :].startswith(bytes.fromhex("514153b8110000000f05415b59c3"))
    # push rcx; push r11; push rax; mov eax, 23; syscall
    assert stubs[23 * 32 :].startswith(bytes.fromhex("51415350b8170000000f05"))


@given(
    memory_size=st.integers(24, 3000).map(lambda size: size * MIB),
    ramdisk=st.none() | st.integers(1, 40 * MIB),
    notes=st.sampled_from([LINUX, OLDER, GRUB]),
)
@settings(max_examples=60)
def test_nothing_overlaps(memory_size: int, ramdisk: int | None, notes: bytes) -> None:
    with image_of(elf64(LOADS, notes)) as kernel, ExitStack() as stack:
        file = stack.enter_context(image_of(b"")) if ramdisk is not None else None
        if file is not None and ramdisk is not None:
            os.ftruncate(file.fd, ramdisk)
        try:
            layout = plan_pv(kernel, file, memory_size >> PAGE_SHIFT).layout
        except BuildError as error:
            assert "do not fit" in str(error)
            return
    used = [range(16 * MIB >> PAGE_SHIFT, (20 * MIB + 0x2345 >> PAGE_SHIFT) + 1)]
    used += [range(layout.p2m.pfn, layout.p2m.end)]
    used += [range(layout.page_tables.pfn, layout.page_tables.end)]
    used += [
        range(at, at + 1)
        for at in (layout.start_info, layout.xenstore, layout.console, layout.stack)
    ]
    if layout.ramdisk is not None:
        used += [range(layout.ramdisk.pfn, layout.ramdisk.end)]
    used.sort(key=lambda span: span.start)
    for before, after in pairwise(used):
        assert before.stop <= after.start
    assert max(span.stop for span in used) <= memory_size >> PAGE_SHIFT
    assert layout.mapped <= memory_size >> PAGE_SHIFT


@pytest.mark.parametrize(
    ("notes", "options", "message"),
    [
        (b"", {}, "no Xen ELF notes"),
        (LINUX, {"memory_size": 20 * MIB}, "do not fit into memory"),
        (LINUX, {"command_line": b"x" * 1024}, "command line"),
        (LINUX, {"command_line": b"a\0b"}, "command line"),
        (LINUX + note(ElfNote.HYPERCALL_PAGE, number(5)), {}, "hypercall page"),
        (BASICS + note(ElfNote.VIRT_BASE, number(VIRT_BASE + 5)), {}, "virtual base"),
        (LINUX + note(ElfNote.PADDR_OFFSET, number(1 << 40)), {}, "below its own base"),
        (BASICS + pvh_note(16 * MIB), {}, "where a PV domain enters"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_in_one_sentence(
    notes: bytes, options: dict[str, object], message: str
) -> None:
    with pytest.raises(BuildError, match=message):
        Built(notes, **options)  # type: ignore[arg-type]
