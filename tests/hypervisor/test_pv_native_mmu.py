"""The native updates of page tables against the Python that says what they should do."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenolith.abi.errno import XenError
from xenolith.abi.xen import DOMID_SELF, Hypercall
from xenolith.abi.xen_pv import UVMF_INVLPG, UVMF_TLB_FLUSH, MmuextCommand
from xenolith.builder.pv_page_tables import PvPageTables
from xenolith.hypervisor.hypercalls.dispatch import call
from xenolith.hypervisor.pv.hypercall_table import PV_HANDLERS
from xenolith.hypervisor.pv.native_mmu import NativeMmu, load_mmu
from xenolith.hypervisor.pv.page_table import PageTables
from xenolith.hypervisor.pv.page_type import COUNT, PageType, PageTypes
from xenolith.hypervisor.pv.paging import PvPaging
from xenolith.hypervisor.pv.writable_page_table import emulate_store
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, GuestVirt, Mfn
from xenolith.machine.memory import MachineMemory

FRAMES = 64
BASE = 0xFFFF_8880_0000_0000
ROOT, TABLE, CODE, LIST, DATA, FOREIGN = 1, 10, 20, 22, 30, 40
"""TABLE is another page table of level 1, mapped read-only with everything else."""
MAPPED = BASE + (1 << 21)
"""What TABLE maps."""
P, RW, US = 1, 2, 4
ARITHMETIC = 0x8D5
RIP = 16


class Trap(ctypes.Structure):
    """struct native_trap."""

    _fields_ = (
        ("registers", ctypes.c_void_p),
        ("roots", ctypes.c_void_p),
        ("kernel_stack", ctypes.c_void_p),
        ("fs_base", ctypes.c_void_p),
        ("gs_base_user", ctypes.c_void_p),
        ("gs_base_kernel", ctypes.c_void_p),
        ("address", ctypes.c_uint64),
        ("rflags", ctypes.c_uint64),
        ("forget_page", ctypes.c_uint64),
        ("forget", ctypes.c_int),
    )


@dataclass
class Registers:
    file: list[int] = field(default_factory=lambda: [0] * 17)
    rflags: int = 0x202
    cr3: int = ROOT << PAGE_SHIFT

    def general(self, number: int) -> int:
        return self.file[number]

    def set_general(self, number: int, value: int) -> None:
        self.file[number] = value & (1 << 64) - 1

    @property
    def rax(self) -> int:
        return self.file[0]

    @property
    def rip(self) -> int:
        return self.file[RIP]

    @rip.setter
    def rip(self, value: int) -> None:
        self.file[RIP] = value


class Side:
    """A guest with page tables, in memory of its own."""

    def __init__(self, native: bool) -> None:
        self.memory = MachineMemory(FRAMES)
        self.words = self.memory.view.cast("Q")
        self.flushed: list[int] = []
        self.types = PageTypes(FRAMES, lambda: self.flushed.append(0))
        self.native = NativeMmu(self.memory, self.types, 0x40011)
        self.tables = PageTables(
            self.memory, self.types, lambda _mfn: None, self.native if native else None
        )
        builder = PvPageTables(0, lambda pfn, data: self.memory.write(pfn << PAGE_SHIFT, data))
        top = builder.build(BASE, 0, FRAMES, ROOT + 1, range(TABLE, TABLE + 1))
        builder.build_top(ROOT, top)
        for pfn in range(ROOT, ROOT + 4):
            self.words[(4 << PAGE_SHIFT >> 3) + pfn] &= ~RW
        # The table of level 2 is the second to last of those that were built.
        self.words[(3 << PAGE_SHIFT >> 3) + 1] = TABLE << PAGE_SHIFT | 0x67
        for slot in range(8):
            self.words[(TABLE << PAGE_SHIFT >> 3) + slot] = DATA + slot << PAGE_SHIFT | P | RW | US
        self.types.remove(Mfn(FOREIGN))
        foreign = (4 << PAGE_SHIFT >> 3) + FOREIGN
        self.words[foreign] = 0
        self.types.pin(ROOT, PageType.L4)
        self.registers = Registers()
        self.vcpu: Any = SimpleNamespace(
            registers=self.registers,
            paging=PvPaging(self.memory, self.registers),
            engine_vcpu=SimpleNamespace(set_rflags=self._set_rflags),
            handlers=PV_HANDLERS,
            domain=SimpleNamespace(
                types=self.types,
                page_tables=self.tables,
                memory=SimpleNamespace(machine=self.memory),
                engine=SimpleNamespace(invalidate_page=self.flushed.append),
                scheduler=SimpleNamespace(wants_exit=False),
                tracer=None,
                domid=1,
            ),
        )

    def _set_rflags(self, value: int) -> None:
        self.registers.rflags = value

    def state(self) -> tuple[object, ...]:
        """All that an operation may change, less the bits by which a walk leaves its traces."""
        tables = [
            self.words[(mfn << PAGE_SHIFT >> 3) : (mfn + 1 << PAGE_SHIFT >> 3)].tolist()
            for mfn in (4, TABLE, DATA)
        ]
        walked = [[word & ~0x60 for word in table] for table in tables]
        return (
            walked,
            bytes(self.types.info),
            self.memory.read(LIST << PAGE_SHIFT, PAGE_SIZE),
        )

    def call_natively(self, name: str, address: int = 0) -> tuple[bool, int]:
        """Whether it was done with, and what was to be forgotten."""
        file = (ctypes.c_uint64 * 17)(*self.registers.file)
        state = (ctypes.c_uint64 * 6)(0, self.registers.cr3)
        places = [ctypes.addressof(state) + 8 * index for index in (0, 2, 3, 4, 5)]
        trap = Trap(ctypes.addressof(file), *places, address, self.registers.rflags)
        calls = self.native.calls
        function = getattr(load_mmu(), name)
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        done = function(calls.self, ctypes.addressof(trap))
        self.registers.file = list(file)
        self.registers.rflags = trap.rflags
        self.switched = list(state)
        return bool(done), trap.forget


@pytest.fixture(scope="module")
def sides() -> tuple[Side, Side]:
    return Side(native=False), Side(native=True)


entries = st.builds(
    lambda mfn, bits: mfn << PAGE_SHIFT | bits,
    st.integers(DATA, DATA + 3) | st.sampled_from([TABLE, ROOT, FOREIGN, FRAMES, 1 << 30]),
    st.sampled_from([0, P, P | RW, P | RW | US, P | RW | 0x60, P | 0x10, P | 0x80, 1 << 63 | P]),
)
slots = st.integers(0, 3)
operand = st.sampled_from(["", "disp8", "disp32", "sib"])

FORMS = {
    "xchg": ("4887", 3, ""),
    "xchg32": ("87", 3, ""),
    "mov": ("4889", 3, ""),
    "mov32": ("89", 3, ""),
    "mov imm": ("48c7", 0, "61000000"),
    "mov imm high": ("48c7", 0, "000000ff"),
    "and byte": ("f080", 4, "fd"),
    "and imm8": ("f04883", 4, "df"),
    "btr imm": ("f0480fba", 6, "01"),
    "bts imm": ("f0480fba", 5, "01"),
    "btr32 imm": ("f00fba", 6, "05"),
    "btr reg": ("f0480fb3", 3, ""),
    "cmpxchg": ("f0480fb1", 3, ""),
    "xadd": ("f0480fc1", 3, ""),
    "or": ("4809", 3, ""),
    "sub imm": ("4883", 5, "01"),
}
"""Opcode, ModRM.reg and immediate of stores through RDI."""


def encode(form: str, addressing: str) -> bytes:
    opcode, register, immediate = FORMS[form]
    modrm = {"": 7, "disp8": 0x47, "disp32": 0x87, "sib": 4}[addressing] | register << 3
    tail = {"": b"", "disp8": b"\0", "disp32": bytes(4), "sib": b"\x27"}[addressing]
    return bytes.fromhex(opcode) + bytes([modrm]) + tail + bytes.fromhex(immediate)


@given(st.sampled_from(sorted(FORMS)), operand, slots, entries, entries, st.booleans())
@settings(max_examples=400)
def test_stores(
    sides: tuple[Side, Side],
    form: str,
    addressing: str,
    slot: int,
    source: int,
    compared: int,
    equal: bool,
) -> None:
    address = BASE + TABLE * PAGE_SIZE + 8 * slot
    outcomes = []
    for side in sides:
        side.memory.write(CODE << PAGE_SHIFT, encode(form, addressing))
        old = side.words[(TABLE << PAGE_SHIFT >> 3) + slot]
        side.registers.file = [number << 40 for number in range(17)]
        side.registers.file[RIP] = BASE + CODE * PAGE_SIZE
        side.registers.file[7] = address
        side.registers.file[3] = source
        side.registers.file[0] = old if equal else compared
        side.registers.rflags = 0x202 | ARITHMETIC
    python, native = sides
    served, _ = native.call_natively("xenolith_mmu_store", address)
    if not served:
        # It is for Python then, which finds all as it was.
        assert native.registers.rip == BASE + CODE * PAGE_SIZE
        served = emulate_store(native.vcpu, GuestVirt(address))
    assert emulate_store(python.vcpu, GuestVirt(address)) == served
    outcomes = [(side.state(), side.registers.file, side.registers.rflags) for side in sides]
    assert outcomes[0] == outcomes[1]


def test_the_usual_stores_are_done_natively() -> None:
    native = Side(native=True)
    for form in ("xchg", "mov", "and byte", "btr imm", "cmpxchg"):
        address = BASE + TABLE * PAGE_SIZE + 8 * 7
        native.memory.write(CODE << PAGE_SHIFT, encode(form, ""))
        native.registers.file[RIP] = BASE + CODE * PAGE_SIZE
        native.registers.file[3] = 0
        native.registers.file[0] = native.words[(TABLE << PAGE_SHIFT >> 3) + 7]
        assert native.call_natively("xenolith_mmu_store", address)[0], form


requests = st.builds(
    lambda mfn, slot, kind, value: (mfn * PAGE_SIZE + 8 * slot | kind, value),
    st.sampled_from([TABLE, TABLE, TABLE, DATA, ROOT, FOREIGN, FRAMES]),
    slots,
    st.sampled_from([0, 0, 0, 2, 3]),
    entries,
)
flags = st.sampled_from([0, UVMF_INVLPG, UVMF_TLB_FLUSH, UVMF_INVLPG | 4])
calls = st.one_of(
    st.builds(
        lambda slot, value, how: (
            Hypercall.update_va_mapping,
            (MAPPED + slot * PAGE_SIZE, value, how, 0),
            [],
        ),
        st.integers(0, 4) | st.just(1 << 30),
        entries,
        flags,
    ),
    st.builds(lambda items: (Hypercall.mmu_update, (), items), st.lists(requests, max_size=4)),
)


def place(side: Side, batch: list[Any]) -> None:
    """A multicall's entries, and behind them what they point to."""
    at = LIST * PAGE_SIZE
    items_at = at + 0x800
    side.memory.write(at, bytes(PAGE_SIZE))
    for number, (operation, given_arguments, items) in enumerate(batch):
        arguments = given_arguments
        if operation is Hypercall.mmu_update:
            arguments = (BASE + items_at, len(items), 0, DOMID_SELF)
            for pointer, value in items:
                side.memory.write(items_at, pointer.to_bytes(8, "little"))
                side.memory.write(items_at + 8, value.to_bytes(8, "little"))
                items_at += 16
        words = (operation.value, 0, *arguments, 0, 0)
        side.memory.write(at + 64 * number, b"".join(word.to_bytes(8, "little") for word in words))


@given(st.lists(calls, min_size=1, max_size=5))
@settings(max_examples=300)
def test_batches_of_updates(sides: tuple[Side, Side], batch: list[Any]) -> None:
    for side in sides:
        place(side, batch)
        side.flushed.clear()
    python, native = sides
    arguments = (BASE + LIST * PAGE_SIZE, len(batch), 0, 0, 0)
    expected = call(python.vcpu, Hypercall.multicall, arguments)
    native.registers.file[0] = Hypercall.multicall
    native.registers.file[7], native.registers.file[6] = arguments[:2]
    done, forget = native.call_natively("xenolith_mmu_hypercall")
    if done:
        assert native.registers.rax == expected
    else:
        rest = (native.registers.file[7], native.registers.file[6], 0, 0, 0)
        assert call(native.vcpu, Hypercall.multicall, rest) == expected
    assert native.state() == python.state()
    # No translation is kept that Python would have had forgotten.
    if forget == 2:
        return
    assert set(python.flushed) <= set(native.flushed) | (
        {MAPPED + n * PAGE_SIZE for n in range(5)} if forget else set()
    )


def test_xen_version_is_answered() -> None:
    native = Side(native=True)
    native.registers.file[0], native.registers.file[7] = Hypercall.xen_version, 0
    assert native.call_natively("xenolith_mmu_hypercall")[0]
    assert native.registers.rax == 0x40011


@pytest.mark.parametrize(("mfn", "natively"), [(DATA, True), (ROOT, False), (FOREIGN, False)])
def test_tables_that_are_not_in_use_are_updated_natively(mfn: int, natively: bool) -> None:
    """As a guest fills the tables of a new process, before it pins them."""
    native = Side(native=True)
    place(native, [(Hypercall.mmu_update, (), [(mfn * PAGE_SIZE, 5)])])
    native.registers.file[0] = Hypercall.multicall
    native.registers.file[7], native.registers.file[6] = BASE + LIST * PAGE_SIZE, 1
    assert native.call_natively("xenolith_mmu_hypercall")[0] == natively
    assert (native.words[mfn << PAGE_SHIFT >> 3] == 5) == natively


def test_a_walk_leads_nowhere() -> None:
    native = Side(native=True)
    with pytest.raises(XenError):
        native.vcpu.paging.translate(GuestVirt(0x1000))


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)


def test_a_switch_between_processes_is_done_natively() -> None:
    native = Side(native=True)
    other = 50
    native.memory.write(other << PAGE_SHIFT, native.memory.read(ROOT << PAGE_SHIFT, PAGE_SIZE))
    native.tables.update_l1(4, other, 0)
    native.types.pin(other, PageType.L4)
    native.types.get(ROOT, PageType.L4)
    at = LIST * PAGE_SIZE
    native.memory.write(at + 0x800, words(MmuextCommand.NEW_BASEPTR, other, 0))
    native.memory.write(at + 0x818, words(MmuextCommand.NEW_USER_BASEPTR, other, 0))
    batch = (
        (Hypercall.mmuext_op, BASE + at + 0x800, 2, 0, DOMID_SELF),
        (Hypercall.stack_switch, 0x18, 0x1234_5000, 0, 0),
        (Hypercall.set_segment_base, 0, 0x7FFF_0000, 0, 0),
    )
    for number, (operation, *arguments) in enumerate(batch):
        native.memory.write(at + 64 * number, words(operation, 0, *arguments, 0, 0))
    native.registers.file[0] = Hypercall.multicall
    native.registers.file[7], native.registers.file[6] = BASE + at, len(batch)
    assert native.call_natively("xenolith_mmu_hypercall") == (True, 2)
    assert native.switched[:4] == [
        other << PAGE_SHIFT,
        other << PAGE_SHIFT,
        0x1234_5000,
        0x7FFF_0000,
    ]
    assert native.types.info[ROOT] & COUNT == 1
    assert native.types.info[other] & COUNT == 3


@pytest.mark.parametrize("root", [0, TABLE, DATA, FOREIGN, FRAMES, 1 << 40])
def test_what_is_no_table_of_level_4_is_not_switched_to(root: int) -> None:
    native = Side(native=True)
    at = LIST * PAGE_SIZE
    native.memory.write(at, words(MmuextCommand.NEW_BASEPTR, root, 0))
    native.registers.file[0] = Hypercall.mmuext_op
    native.registers.file[7], native.registers.file[6] = BASE + at, 1
    native.registers.file[2], native.registers.file[10] = 0, DOMID_SELF
    assert not native.call_natively("xenolith_mmu_hypercall")[0]
    assert native.switched[1] == ROOT << PAGE_SHIFT


def test_a_table_that_only_its_use_holds_is_given_up_in_python() -> None:
    native = Side(native=True)
    native.tables.update_l1(4, 50, 0)
    native.types.pin(50, PageType.L4)
    at = LIST * PAGE_SIZE
    native.memory.write(at, words(MmuextCommand.NEW_BASEPTR, 50, 0))
    native.registers.file[0] = Hypercall.mmuext_op
    native.registers.file[7], native.registers.file[6] = BASE + at, 1
    native.registers.file[2], native.registers.file[10] = 0, DOMID_SELF
    # ROOT is pinned, and not counted as in use here.
    assert not native.call_natively("xenolith_mmu_hypercall")[0]
    assert native.types.info[50] & COUNT == 1


@pytest.mark.parametrize("mfn", [FRAMES - 1, DATA])
def test_entries_that_were_never_counted_are_not_counted_down(mfn: int) -> None:
    """No guest gets such an entry into a table in use; one that did would write the hypervisor's memory."""
    memory, types = MachineMemory(FRAMES), PageTypes(FRAMES, lambda: None)
    types.existing[0] = FRAMES - 1
    native = NativeMmu(memory, types, 0)
    memory.frame(Mfn(TABLE)).cast("Q")[0] = mfn << PAGE_SHIFT | P | RW | US
    native.invalidate_l1(Mfn(TABLE))
    assert not any(types.info)
    assert not types.writable_dropped[0]
