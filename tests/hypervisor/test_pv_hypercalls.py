"""The hypercalls of PV guests: what right ones do, and that nothing comes of wrong ones."""

from __future__ import annotations

import operator
import random
from collections.abc import Iterator, Sequence

import pytest
from small_pv_domain import BASE, DATA, FRAMES, GDT, ROOT, SPARE, SmallPvDomain

from xenolith.abi.arch_x86_pv import TRAP_INFO, VCPU_GUEST_CONTEXT, TrapInfo, VGCF_in_kernel
from xenolith.abi.callback import CALLBACK_REGISTER, CallbackOp, CallbackRegister
from xenolith.abi.errno import Errno
from xenolith.abi.memory import (
    XEN_MEMORY_EXCHANGE,
    XEN_MEMORY_RESERVATION,
    MemoryOp,
    XenMemoryExchange,
    XenMemoryReservation,
)
from xenolith.abi.sched import ShutdownReason
from xenolith.abi.vcpu import VCPU_REGISTER_VCPU_INFO, VcpuOp, VcpuRegisterVcpuInfo
from xenolith.abi.xen import DOMID_SELF, Hypercall
from xenolith.abi.xen_pv import MMU_UPDATE, MMUEXT_OP, MmuextCommand, MmuextOp, MmuUpdate
from xenolith.hypervisor.guest_access import Continuation
from xenolith.hypervisor.hypercalls.dispatch import call
from xenolith.hypervisor.pv.hypercall_table import PV_HANDLERS
from xenolith.hypervisor.pv.memory import INVALID_M2P_ENTRY
from xenolith.hypervisor.pv.page_type import PageType
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE

P, RW, US = 1, 2, 4
ALL_BITS = (1 << 64) - 1
ARITHMETIC_AND_DF, TF, IF = 0xCD5, 1 << 8, 1 << 9
NT, AC, ID, ALWAYS_SET = 1 << 14, 1 << 18, 1 << 21, 1 << 1


@pytest.fixture
def guest() -> Iterator[SmallPvDomain]:
    made = SmallPvDomain()
    yield made
    made.close()


def mmuext(guest: SmallPvDomain, command: int, arg1: int = 0, arg2: int = 0) -> int:
    address = guest.write(DATA, MMUEXT_OP.pack(MmuextOp(command, arg1, arg2)))
    return guest.hypercall(Hypercall.mmuext_op, address, 1, 0, DOMID_SELF)


def update(guest: SmallPvDomain, *requests: tuple[int, int]) -> tuple[int, int]:
    """The result, and how many were done."""
    data = b"".join(MMU_UPDATE.pack(MmuUpdate(*request)) for request in requests)
    address = guest.write(DATA, data)
    done = guest.write(DATA, bytes(4), 0xF00)
    result = guest.hypercall(Hypercall.mmu_update, address, len(requests), done, DOMID_SELF)
    return result, int.from_bytes(guest.read(DATA, 4, 0xF00), "little")


def test_what_follows_a_number_of_entries_is_stale(guest: SmallPvDomain) -> None:
    """Linux up to 5.15 writes a field of 32 bits into a buffer that it has used before."""
    assert mmuext(guest, MmuextCommand.SET_LDT, 0, 0xFFFF8880_00000000) == 0


@pytest.mark.parametrize(
    ("number", "arguments", "narrow"),
    [
        (Hypercall.xen_version, (0,), {0}),
        (Hypercall.vcpu_op, (VcpuOp.is_up, 0), {0, 1}),
        (Hypercall.vm_assist, (0, 2), {0, 1}),
        (Hypercall.get_debugreg, (6,), {0}),
        (Hypercall.set_debugreg, (0, 0x1000), {0}),
        (Hypercall.set_gdt, (0, 0), {1}),
        (Hypercall.set_segment_base, (1, 0x1000), {0}),
        (Hypercall.console_io, (0, 0, 0), {0, 1}),
        (Hypercall.nmi_op, (1, 0), {0}),
        (Hypercall.multicall, (0, 0), {1}),
        (Hypercall.mmu_update, (0, 0, 0, DOMID_SELF), {1, 3}),
        (Hypercall.mmuext_op, (0, 0, 0, DOMID_SELF), {1, 3}),
        # These fail, since there is nothing at the address that they are given.
        (Hypercall.callback_op, (0, 0), {0}),
        (Hypercall.event_channel_op, (4, 0), {0}),
        (Hypercall.physdev_op, (6, 0), {0}),
        (Hypercall.sched_op, (3, 0), {0}),
        (Hypercall.grant_table_op, (6, 0, 1), {0, 2}),
    ],
)
def test_arguments_of_32_bits_have_anything_above_them(
    guest: SmallPvDomain, number: Hypercall, arguments: tuple[int, ...], narrow: set[int]
) -> None:
    """A caller in C leaves there what a register held before."""
    dirty = (0xABCD << 32 if index in narrow else 0 for index in range(len(arguments)))
    result = guest.hypercall(number, *map(operator.or_, arguments, dirty))
    assert result == guest.hypercall(number, *arguments) != -Errno.ENOSYS


def test_breakpoints_on_ports_take_de(guest: SmallPvDomain) -> None:
    vcpu, de = guest.vcpu, 1 << 3
    on_port, on_another = 0x2_0602, 0x20_0408
    assert not (vcpu.read_control(4) or 0) & de
    assert guest.hypercall(Hypercall.set_debugreg, 7, on_port) == -Errno.EPERM
    assert vcpu.write_control(4, de)
    assert (vcpu.read_control(4) or 0) & de
    for value in (on_port, on_another, on_port):
        assert guest.hypercall(Hypercall.set_debugreg, 7, value) == 0
        assert guest.hypercall(Hypercall.get_debugreg, 7) == value
    assert guest.hypercall(Hypercall.get_debugreg, 5) == -Errno.ENODEV
    assert vcpu.write_control(4, 0)
    assert guest.hypercall(Hypercall.set_debugreg, 7, on_port) == -Errno.EPERM
    assert guest.hypercall(Hypercall.get_debugreg, 7) == on_port
    assert guest.hypercall(Hypercall.get_debugreg, 5) == on_port


def test_a_page_can_be_made_a_table_used_and_given_back(guest: SmallPvDomain) -> None:
    table = guest.mfn(SPARE)
    assert mmuext(guest, MmuextCommand.PIN_L1_TABLE, table) == 0
    # The table of level 2, next to the last that was built.
    slot = (guest.mfn(ROOT + 2) << PAGE_SHIFT) + 8
    assert update(guest, (slot, table << PAGE_SHIFT | P | RW)) == (0, 1)
    address = BASE + (1 << 21)
    entry = guest.mfn(SPARE + 1) << PAGE_SHIFT | P | RW
    assert guest.hypercall(Hypercall.update_va_mapping, address, entry, 2) == 0
    assert guest.vcpu.paging.translate(address, write=True) >> PAGE_SHIFT == guest.mfn(SPARE + 1)  # type: ignore[arg-type]
    guest.check()
    assert update(guest, (slot, 0)) == (0, 1)
    assert mmuext(guest, MmuextCommand.UNPIN_TABLE, table) == 0
    assert guest.domain.types.type_of(guest.mfn(SPARE + 1)) is PageType.NONE


def test_updates_stop_at_the_first_that_fails(guest: SmallPvDomain) -> None:
    good = (guest.entry_address(SPARE), guest.mfn(SPARE) << PAGE_SHIFT | P)
    bad = (guest.entry_address(SPARE + 1), guest.mfn(ROOT) << PAGE_SHIFT | P | RW)
    assert update(guest, good, bad, good) == (-Errno.EINVAL, 1)
    assert guest.entry(SPARE + 1) == 0


def test_frames_get_their_numbers_by_machphys_updates(guest: SmallPvDomain) -> None:
    assert update(guest, (guest.mfn(SPARE) << PAGE_SHIFT | 1, 77)) == (0, 1)
    assert guest.domain.engine.m2p[guest.mfn(SPARE)] == 77
    assert update(guest, (5 << PAGE_SHIFT | 1, 77)) == (-Errno.EINVAL, 0)


def test_frames_of_others_cannot_be_had(guest: SmallPvDomain) -> None:
    address = guest.write(DATA, MMU_UPDATE.pack(MmuUpdate(guest.entry_address(SPARE), 0)))
    assert guest.hypercall(Hypercall.mmu_update, address, 1, 0, 9) == -Errno.ESRCH
    entry = guest.mfn(SPARE) << PAGE_SHIFT | P
    other = Hypercall.update_va_mapping_otherdomain
    assert guest.hypercall(other, guest.address(SPARE), entry, 0, 9) == -Errno.ESRCH


def test_the_table_in_use_cannot_be_lost(guest: SmallPvDomain) -> None:
    assert mmuext(guest, MmuextCommand.UNPIN_TABLE, guest.mfn(ROOT)) == -Errno.EINVAL
    writable = guest.mfn(ROOT) << PAGE_SHIFT | P | RW
    assert update(guest, (guest.entry_address(ROOT), writable)) == (-Errno.EINVAL, 0)
    assert mmuext(guest, MmuextCommand.NEW_BASEPTR, guest.mfn(DATA)) == -Errno.EINVAL
    assert guest.vcpu.engine_vcpu.roots[0] == guest.mfn(ROOT)


def test_programs_can_be_without_page_tables_or_share_the_kernels(guest: SmallPvDomain) -> None:
    assert mmuext(guest, MmuextCommand.NEW_USER_BASEPTR, guest.mfn(ROOT)) == 0
    assert mmuext(guest, MmuextCommand.NEW_USER_BASEPTR, 0) == 0
    assert guest.vcpu.engine_vcpu.roots[1] is None


def test_pages_are_cleared_and_copied_only_where_they_could_be_written(
    guest: SmallPvDomain,
) -> None:
    guest.write(DATA + 1, b"something" * 100)
    copy = mmuext(guest, MmuextCommand.COPY_PAGE, guest.mfn(DATA + 2), guest.mfn(DATA + 1))
    assert copy == 0
    assert guest.read(DATA + 2, PAGE_SIZE) == guest.read(DATA + 1, PAGE_SIZE)
    assert mmuext(guest, MmuextCommand.CLEAR_PAGE, guest.mfn(DATA + 2)) == 0
    assert not any(guest.read(DATA + 2, PAGE_SIZE))
    assert mmuext(guest, MmuextCommand.CLEAR_PAGE, guest.mfn(ROOT + 3)) == -Errno.EINVAL


def test_descriptors_get_privilege_level_3(guest: SmallPvDomain) -> None:
    kernel_code = 0x00AF9A000000FFFF
    at = (guest.mfn(GDT) << PAGE_SHIFT) + 16
    assert guest.hypercall(Hypercall.update_descriptor, at, kernel_code) == 0
    assert guest.read(GDT, 8, 16) == 0x00AFFB000000FFFF.to_bytes(8, "little")


@pytest.mark.parametrize("kind", [0x2, 0x9, 0xB, 0xC, 0xE, 0xF])
def test_gates_and_tasks_are_no_descriptors_of_a_guest(guest: SmallPvDomain, kind: int) -> None:
    gate = 1 << 47 | kind << 40
    at = guest.mfn(GDT) << PAGE_SHIFT
    assert guest.hypercall(Hypercall.update_descriptor, at, gate) == -Errno.EINVAL
    guest.write(SPARE, gate.to_bytes(8, "little"))
    frames = guest.write(DATA, guest.mfn(SPARE).to_bytes(8, "little"))
    assert guest.hypercall(Hypercall.set_gdt, frames, 512) == -Errno.EINVAL


def test_a_descriptor_table_cannot_be_mapped_writable(guest: SmallPvDomain) -> None:
    entry = guest.mfn(GDT) << PAGE_SHIFT | P
    assert update(guest, (guest.entry_address(GDT), entry | RW)) == (-Errno.EINVAL, 0)
    frames = guest.write(DATA, guest.mfn(DATA + 1).to_bytes(8, "little"))
    assert guest.hypercall(Hypercall.set_gdt, frames, 512) == -Errno.EINVAL
    assert guest.hypercall(Hypercall.set_gdt, 0, 0) == 0
    assert update(guest, (guest.entry_address(GDT), entry | RW)) == (0, 1)


def test_a_bad_address_is_no_trap_handler(guest: SmallPvDomain) -> None:
    table = guest.write(DATA, TRAP_INFO.pack(TrapInfo(14, 0, 0, 1 << 60)))
    assert guest.hypercall(Hypercall.set_trap_table, table) == -Errno.EINVAL
    callback = guest.write(DATA, CALLBACK_REGISTER.pack(CallbackRegister(0, 0, 1 << 60)))
    assert guest.hypercall(Hypercall.callback_op, CallbackOp.register, callback) == -Errno.EINVAL
    unknown = guest.write(DATA, CALLBACK_REGISTER.pack(CallbackRegister(99, 0, BASE)))
    assert guest.hypercall(Hypercall.callback_op, CallbackOp.register, unknown) == -Errno.ENOSYS


def test_a_vcpu_info_cannot_come_to_be_a_page_table(guest: SmallPvDomain) -> None:
    request = VcpuRegisterVcpuInfo(guest.mfn(DATA + 1), 64, 0)
    address = guest.write(DATA, VCPU_REGISTER_VCPU_INFO.pack(request))
    assert guest.hypercall(Hypercall.vcpu_op, VcpuOp.register_vcpu_info, 0, address) == 0
    unmap = (guest.entry_address(DATA + 1), 0)
    assert update(guest, unmap) == (0, 1)
    pin = MmuextCommand.PIN_L1_TABLE
    assert mmuext(guest, pin, guest.mfn(DATA + 1)) == -Errno.EINVAL
    table = VcpuRegisterVcpuInfo(guest.mfn(ROOT), 64, 0)
    address = guest.write(DATA, VCPU_REGISTER_VCPU_INFO.pack(table))
    assert guest.hypercall(Hypercall.vcpu_op, VcpuOp.register_vcpu_info, 1, address) < 0


@pytest.mark.parametrize("command", [MmuextCommand.PIN_L1_TABLE, MmuextCommand.PIN_L4_TABLE])
def test_what_the_hypervisor_writes_cannot_come_to_be_a_page_table(
    guest: SmallPvDomain, command: MmuextCommand
) -> None:
    domain = guest.domain
    for mfn in (domain.shared_info_mfn, domain.grants.shared[0], guest.memory.allocate_frame()):
        guest.memory.frame(mfn)[:] = bytes(PAGE_SIZE)
        assert mmuext(guest, command, mfn) == -Errno.EINVAL


def test_frames_of_the_hypervisors_are_given_to_others_when_nobody_maps_them(
    guest: SmallPvDomain,
) -> None:
    memory = guest.memory
    mapped, other = memory.allocate_frame(), memory.allocate_frame()
    assert update(guest, (guest.entry_address(SPARE), mapped << PAGE_SHIFT | P | RW)) == (0, 1)
    memory.free_frame(mapped)
    assert memory.allocate_frame() != mapped
    memory.free_frame(other)
    assert memory.allocate_frame() == other


def test_memory_goes_back_to_the_host_and_comes_again(guest: SmallPvDomain) -> None:
    frames = [guest.mfn(SPARE), guest.mfn(ROOT), guest.mfn(SPARE + 1)]
    listed = guest.write(DATA + 1, b"".join(mfn.to_bytes(8, "little") for mfn in frames))

    def reserve(operation: MemoryOp, address: int, count: int) -> int:
        asked = XenMemoryReservation(address, count, 0, 0, DOMID_SELF)
        return guest.hypercall(
            Hypercall.memory_op, operation, guest.write(DATA, XEN_MEMORY_RESERVATION.pack(asked))
        )

    # The page table stays.
    assert reserve(MemoryOp.decrease_reservation, listed, 3) == 1
    assert guest.memory.populated == FRAMES - 1
    assert guest.domain.engine.m2p[guest.mfn(SPARE)] == INVALID_M2P_ENTRY
    gone = (guest.entry_address(SPARE), guest.mfn(SPARE) << PAGE_SHIFT | P)
    assert update(guest, gone) == (-Errno.EINVAL, 0)
    guest.write(DATA + 1, (0x55).to_bytes(8, "little"))
    assert reserve(MemoryOp.populate_physmap, listed, 2) == 1
    assert int.from_bytes(guest.read(DATA + 1, 8), "little") == guest.mfn(SPARE)
    assert guest.domain.engine.m2p[guest.mfn(SPARE)] == 0x55


def test_a_vcpu_starts_with_page_tables_or_not_at_all(guest: SmallPvDomain) -> None:
    blank = VCPU_GUEST_CONTEXT.unpack(bytes(VCPU_GUEST_CONTEXT.size))
    context = blank._replace(ctrlreg=(0, 0, 0, guest.mfn(DATA) << PAGE_SHIFT, 0, 0, 0, 0))
    address = guest.write(DATA + 1, VCPU_GUEST_CONTEXT.pack(context))
    initialise = (Hypercall.vcpu_op, VcpuOp.initialise, 1, address)
    assert guest.hypercall(*initialise) == -Errno.EINVAL
    assert guest.hypercall(Hypercall.vcpu_op, VcpuOp.up, 1) == -Errno.EINVAL
    good = blank._replace(ctrlreg=(0, 0, 0, guest.mfn(ROOT) << PAGE_SHIFT, 0, 0, 0, 0))
    guest.write(DATA + 1, VCPU_GUEST_CONTEXT.pack(good))
    assert guest.hypercall(*initialise) == 0
    assert guest.hypercall(*initialise) == -Errno.EEXIST


def test_a_vcpu_does_not_start_with_flags_that_are_xens(guest: SmallPvDomain) -> None:
    blank = VCPU_GUEST_CONTEXT.unpack(bytes(VCPU_GUEST_CONTEXT.size))
    # pushf; pop rbx; ud2, for which there is no handler
    code = guest.write(DATA + 4, b"\x9c\x5b\x0f\x0b")
    registers = blank.user_regs._replace(
        rflags=ALL_BITS & ~TF, cs=0xE033, ss=0xE02B, rip=code, rsp=code + PAGE_SIZE
    )
    roots = (0, 0, 0, guest.mfn(ROOT) << PAGE_SHIFT, 0, 0, 0, 0)
    context = blank._replace(user_regs=registers, ctrlreg=roots, flags=VGCF_in_kernel)
    address = guest.write(DATA + 1, VCPU_GUEST_CONTEXT.pack(context))
    assert guest.hypercall(Hypercall.vcpu_op, VcpuOp.initialise, 1, address) == 0
    vcpu = guest.domain.vcpus[1]
    assert vcpu.port_access.level == 3
    vcpu.engine_vcpu.run()
    assert guest.events.reasons == [ShutdownReason.crash]
    assert vcpu.registers.rbx == ARITHMETIC_AND_DF | NT | AC | ID | IF | ALWAYS_SET


def interesting(guest: SmallPvDomain, choose: random.Random) -> int:
    """A number that some hypercall may take for something."""
    pfn = choose.randrange(FRAMES)
    return choose.choice(
        (
            choose.randrange(12),
            choose.getrandbits(64),
            choose.getrandbits(32),
            guest.address(DATA + choose.randrange(4)) + 8 * choose.randrange(512),
            guest.address(pfn) + choose.randrange(PAGE_SIZE),
            guest.mfn(pfn),
            (guest.mfn(pfn) << PAGE_SHIFT) | choose.choice((0, P, P | RW, P | RW | US, 1, 2, 3)),
            guest.entry_address(pfn),
            DOMID_SELF,
            ALL_BITS,
            1 << 63,
            0,
        )
    )


SHAPES = {
    Hypercall.mmu_update: "pnzs",
    Hypercall.mmuext_op: "pnzs",
    Hypercall.update_va_mapping: "aec",
    Hypercall.multicall: "pn",
    Hypercall.set_gdt: "pn",
    Hypercall.memory_op: "cp",
    Hypercall.vcpu_op: "cvp",
    Hypercall.event_channel_op: "cp",
    Hypercall.grant_table_op: "cpn",
    Hypercall.callback_op: "cp",
    Hypercall.set_trap_table: "p",
}
"""What calls mostly look like: command, number of entries, vCPU, pointer, or zero, address, entry, DOMID_SELF."""


def shaped(guest: SmallPvDomain, choose: random.Random, kind: str) -> int:
    pfn = choose.randrange(FRAMES)
    bits = choose.choice((0, P, P | RW, P | RW | US))
    match kind:
        case "c":
            return choose.randrange(16)
        case "n":
            return choose.randrange(1, 6)
        case "v":
            return choose.randrange(2)
        case "z":
            return choose.choice((0, 0, guest.address(DATA)))
        case "a":
            return guest.address(pfn)
        case "e":
            return guest.mfn(pfn) << PAGE_SHIFT | bits
        case "s":
            return DOMID_SELF
    return guest.address(DATA + choose.randrange(4)) + 8 * choose.randrange(400)


def request(guest: SmallPvDomain, choose: random.Random) -> bytes:
    """Something that pointers of calls may point to."""
    table = guest.mfn(choose.choice((ROOT, ROOT + 1, ROOT + 2, ROOT + 3, SPARE, SPARE + 1)))
    at = (table << PAGE_SHIFT) + 8 * choose.choice((0, 1, choose.randrange(512)))
    kind = choose.choice((0, 0, 0, 1, 2, 3))
    target = guest.mfn(choose.randrange(ROOT, FRAMES))
    bits = choose.choice((0, P, P | RW, P | RW | US))
    match choose.randrange(3):
        case 0:
            return MMU_UPDATE.pack(MmuUpdate(at | kind, target << PAGE_SHIFT | bits))
        case 1:
            return MMUEXT_OP.pack(MmuextOp(choose.randrange(21), target, choose.randrange(4)))
    words = [interesting(guest, choose) & ALL_BITS for _ in range(8)]
    return b"".join(word.to_bytes(8, "little") for word in words)


@pytest.mark.parametrize("seed", range(12))
def test_nothing_that_a_guest_asks_for_does_harm(seed: int) -> None:
    choose = random.Random(seed)
    guest = SmallPvDomain()
    numbers = [number for number in PV_HANDLERS if number != Hypercall.sched_op]
    for _ in range(600):
        number = choose.choice(numbers)
        shape = SHAPES.get(Hypercall(number), "") if choose.randrange(8) else ""
        arguments = [shaped(guest, choose, kind) for kind in shape]
        arguments += [interesting(guest, choose) for _ in range(5 - len(arguments))]
        if shape and "p" in shape:
            pointer = arguments[shape.index("p")]
            pfn = (pointer - BASE) // PAGE_SIZE
            if guest.domain.types.type_of(guest.mfn(pfn)) in (PageType.NONE, PageType.WRITABLE):
                data = b"".join(request(guest, choose) for _ in range(5))
                guest.write(pfn, data[: PAGE_SIZE - pointer % PAGE_SIZE], pointer % PAGE_SIZE)
        try:
            result = call(guest.vcpu, number, tuple(arguments))
        except Continuation:
            continue
        assert -(1 << 63) <= result < 1 << 64
        guest.use_root()
    guest.check()
    guest.close()


def test_a_crash_is_told_with_registers_and_stack(guest: SmallPvDomain) -> None:
    registers = guest.vcpu.registers
    registers.rip, registers.rsp = 0x1234_5678, guest.address(DATA)
    guest.write(DATA, (0xFEED).to_bytes(8, "little"))
    guest.vcpu.crash("it has lost its way")
    log = "\n".join(guest.events.lines)
    assert "[<0000000012345678>]" in log
    assert f"{0xFEED:016x}" in log
    assert guest.events.lines[-1] == "d7: vCPU 0: it has lost its way"
    assert guest.events.reasons == [ShutdownReason.crash]


def test_a_crash_without_a_stack_is_told_all_the_same(guest: SmallPvDomain) -> None:
    guest.vcpu.registers.rsp = 0x1000
    guest.vcpu.crash("it has lost its way")
    assert any("Fault while accessing" in line for line in guest.events.lines)


def exchange(
    guest: SmallPvDomain, given: Sequence[int], order: int, wanted: int, gfns: list[int]
) -> int:
    """Give single frames for extents of an order; the lists are in the second page of data."""
    lists = b"".join(number.to_bytes(8, "little") for number in (*given, *gfns))
    at = guest.write(DATA + 1, lists)
    ins = XenMemoryReservation(at, len(given), 0, 0, DOMID_SELF)
    outs = XenMemoryReservation(at + 8 * len(given), wanted, order, 0, DOMID_SELF)
    argument = guest.write(DATA, XEN_MEMORY_EXCHANGE.pack(XenMemoryExchange(ins, outs, 0)))
    return guest.hypercall(Hypercall.memory_op, MemoryOp.exchange, argument)


def numbers(guest: SmallPvDomain, first: int, count: int) -> list[int]:
    return memoryview(guest.read(DATA + 1, 8 * count, 8 * first)).cast("Q").tolist()


def test_scattered_frames_become_some_that_follow_one_another(guest: SmallPvDomain) -> None:
    given = [guest.mfn(SPARE + n) for n in (3, 0, 2, 1)]
    guest.write(SPARE, b"what was there")
    assert exchange(guest, given, 2, 1, [0x70]) == 0
    (start,) = numbers(guest, 4, 1)
    assert start == guest.mfn(SPARE)
    assert [guest.domain.engine.m2p[start + n] for n in range(4)] == [0x70, 0x71, 0x72, 0x73]
    assert not any(guest.read(SPARE, 16))
    assert guest.memory.populated == FRAMES


def test_frames_that_cannot_be_exchanged_stay(guest: SmallPvDomain) -> None:
    guest.write(SPARE, b"what was there")
    apart = [guest.mfn(SPARE + n) for n in (0, 2, 4, 6)]
    assert exchange(guest, apart, 2, 1, [0x70]) == -Errno.ENOMEM
    table = [guest.mfn(SPARE), guest.mfn(ROOT)]
    assert exchange(guest, table, 1, 1, [1]) == -Errno.ENOMEM
    twice = [guest.mfn(SPARE), guest.mfn(SPARE)]
    assert exchange(guest, twice, 1, 1, [1]) == -Errno.ENOMEM
    assert guest.read(SPARE, 14) == b"what was there"
    assert exchange(guest, apart, 2, 2, [1, 2]) == -Errno.EINVAL


def test_extents_come_whole_and_are_given_back(guest: SmallPvDomain) -> None:
    def change(command: MemoryOp, number: int, order: int) -> int:
        extents = guest.write(DATA, number.to_bytes(8, "little"), 0x800)
        asked = XEN_MEMORY_RESERVATION.pack(XenMemoryReservation(extents, 1, order, 0, DOMID_SELF))
        return guest.hypercall(Hypercall.memory_op, command, guest.write(DATA, asked))

    memory = guest.memory
    first = guest.mfn(SPARE)
    assert change(MemoryOp.decrease_reservation, first, 3) == 1
    assert memory.populated == FRAMES - 8
    assert change(MemoryOp.decrease_reservation, first, 0) == 0
    assert change(MemoryOp.populate_physmap, 0x123, 10) == 0
    assert change(MemoryOp.populate_physmap, SPARE, 3) == 1
    assert int.from_bytes(guest.read(DATA, 8, 0x800), "little") == first
    assert [guest.domain.engine.m2p[first + n] for n in range(8)] == [*range(SPARE, SPARE + 8)]
    assert change(MemoryOp.populate_physmap, SPARE, 0) == 0


def test_frames_that_were_withheld_come_when_they_are_asked_for() -> None:
    guest = SmallPvDomain(withheld=24)
    try:
        last = guest.mfn(FRAMES - 1)
        assert guest.memory.populated == FRAMES - 24
        assert not guest.domain.types.is_present(last)
        assert mmuext(guest, MmuextCommand.CLEAR_PAGE, last) == -Errno.EINVAL
        taken = [guest.memory.populate(3), guest.memory.populate(0), guest.memory.populate(3)]
        assert None not in taken
        assert guest.memory.populate(3) is None
        while (mfn := guest.memory.populate()) is not None:
            assert mmuext(guest, MmuextCommand.CLEAR_PAGE, mfn) == 0
        assert guest.memory.populated == FRAMES
        assert guest.domain.types.is_present(last)
    finally:
        guest.close()
