"""The local APIC: priorities, modes, IPIs, and that no write to it can do harm."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenolith.engine.hvm import GuestException, Vector
from xenolith.hypervisor.hvm.lapic import LocalApic
from xenolith.hypervisor.hvm.lapic_registers import Register
from xenolith.hypervisor.hvm.xapic_page import XapicPage
from xenolith.hypervisor.timers import TimerQueue

BASE = 0xFEE00000
ENABLE, X2APIC, BSP = 1 << 11, 1 << 10, 1 << 8
SVR_ON = 0x1FF
MASKED = 1 << 16
LOGICAL = 1 << 11
TO_SELF, TO_ALL, TO_OTHERS = (number << 18 for number in (1, 2, 3))
LOWEST, NMI, INIT, STARTUP = (mode << 8 for mode in (1, 4, 5, 6))


class Board:
    """Some vCPUs' APICs, which note what reaches them."""

    def __init__(self, count: int = 4, *, x2apic: bool = False, enabled: bool = True) -> None:
        self.now = 0
        self.timers = TimerQueue(lambda _deadline: None)
        self.lapics: list[LocalApic] = []
        self.lapics += [
            LocalApic(2 * number, self, self.timers, lambda: self.now) for number in range(count)
        ]
        self.heard: list[tuple[str, int]] = []
        self.page = XapicPage(lambda: self.lapics[0])
        for lapic in self.lapics:
            if x2apic:
                lapic.write_base(BASE | ENABLE | X2APIC)
                if enabled:
                    lapic.write_msr(msr(Register.SVR), SVR_ON)
            elif enabled:
                lapic.write_register(Register.SVR, SVR_ON)

    def interrupt(self, lapic: LocalApic) -> None:
        self.heard.append(("interrupt", lapic.apic_id))

    def nmi(self, lapic: LocalApic) -> None:
        self.heard.append(("nmi", lapic.apic_id))

    def init(self, lapic: LocalApic) -> None:
        self.heard.append(("init", lapic.apic_id))

    def startup(self, lapic: LocalApic, page: int) -> None:
        self.heard.append((f"startup {page:#x}", lapic.apic_id))

    def pass_time(self, nanoseconds: int) -> None:
        self.now += nanoseconds
        self.timers.expire(self.now)

    def who_has(self, vector: int) -> list[int]:
        return [lapic.apic_id for lapic in self.lapics if has(lapic, vector)]

    def send(self, command: int, destination: int = 0, sender: int = 0) -> None:
        lapic = self.lapics[sender]
        if lapic.x2apic:
            lapic.write_msr(msr(Register.ICR), destination << 32 | command)
        else:
            lapic.write_register(Register.ICR_HIGH, destination << 24)
            lapic.write_register(Register.ICR, command)


def msr(register: Register) -> int:
    return 0x800 + register // 16


def has(lapic: LocalApic, vector: int) -> bool:
    word = lapic.read_register(Register.IRR + 0x10 * (vector // 32))
    return bool(word >> vector % 32 & 1)


def refuses(function: Any, *arguments: int) -> bool:
    try:
        function(*arguments)
    except GuestException as fault:
        assert (fault.vector, fault.error_code) == (Vector.GP, 0)
        return True
    return False


class TestPriorities:
    def test_nothing_is_pending_at_first(self) -> None:
        assert Board().lapics[0].pending_vector() == -1

    def test_the_highest_vector_comes_first(self) -> None:
        lapic = Board().lapics[0]
        for vector in (0x31, 0xF0, 0x80):
            lapic.raise_vector(vector)
        taken = []
        while (vector := lapic.pending_vector()) >= 0:
            lapic.accept(vector)
            taken.append(vector)
            lapic.write_register(Register.EOI, 0)
        assert taken == [0xF0, 0x80, 0x31]

    def test_only_a_higher_class_interrupts_one_in_service(self) -> None:
        lapic = Board().lapics[0]
        lapic.raise_vector(0x55)
        lapic.accept(0x55)
        lapic.raise_vector(0x5F)
        assert lapic.pending_vector() == -1
        lapic.raise_vector(0x60)
        assert lapic.pending_vector() == 0x60
        assert lapic.read_register(Register.PPR) == 0x50

    def test_an_eoi_ends_the_highest_in_service(self) -> None:
        lapic = Board().lapics[0]
        for vector in (0x41, 0x61):
            lapic.raise_vector(vector)
            lapic.accept(vector)
        assert lapic.read_register(Register.PPR) == 0x60
        lapic.write_register(Register.EOI, 0)
        assert lapic.read_register(Register.PPR) == 0x40
        lapic.write_register(Register.EOI, 0)
        assert lapic.read_register(Register.PPR) == 0
        lapic.write_register(Register.EOI, 0)

    def test_the_task_priority_holds_lower_classes_back(self) -> None:
        lapic = Board().lapics[0]
        lapic.raise_vector(0x5A)
        lapic.write_register(Register.TPR, 0x50)
        assert lapic.pending_vector() == -1
        assert lapic.read_register(Register.PPR) == 0x50
        lapic.write_register(Register.TPR, 0x4F)
        assert lapic.pending_vector() == 0x5A

    def test_nothing_is_pending_while_it_is_disabled(self) -> None:
        lapic = Board(enabled=False).lapics[0]
        lapic.raise_vector(0x40)
        assert lapic.pending_vector() == -1
        lapic.write_register(Register.SVR, SVR_ON)
        assert lapic.pending_vector() == 0x40

    @given(st.lists(st.integers(16, 255), min_size=1), st.integers(0, 255))
    def test_what_is_offered_beats_the_processor_s_priority(
        self, vectors: list[int], task_priority: int
    ) -> None:
        lapic = Board(1).lapics[0]
        lapic.write_register(Register.TPR, task_priority)
        for vector in vectors:
            lapic.raise_vector(vector)
        expected = max((v for v in vectors if v >> 4 > task_priority >> 4), default=-1)
        assert lapic.pending_vector() == expected


class TestErrors:
    def test_errors_show_after_a_write(self) -> None:
        board = Board()
        lapic = board.lapics[0]
        lapic.raise_vector(15)
        board.send(5 | TO_SELF)
        assert lapic.read_register(Register.ESR) == 0
        lapic.write_register(Register.ESR, 0)
        assert lapic.read_register(Register.ESR) == 1 << 5 | 1 << 6
        lapic.write_register(Register.ESR, 0)
        assert lapic.read_register(Register.ESR) == 0
        assert not board.heard

    def test_an_error_interrupts_once(self) -> None:
        lapic = Board().lapics[0]
        lapic.write_register(Register.LVT_ERROR, 0xFE)
        lapic.raise_vector(3)
        assert has(lapic, 0xFE)
        lapic.accept(0xFE)
        lapic.raise_vector(3)
        assert not has(lapic, 0xFE)

    def test_an_error_vector_that_is_illegal_itself_ends_there(self) -> None:
        lapic = Board().lapics[0]
        lapic.write_register(Register.LVT_ERROR, 3)
        lapic.raise_vector(3)
        assert lapic.pending_vector() == -1

    def test_an_error_vector_that_is_illegal_itself_is_an_error_too(self) -> None:
        board = Board()
        lapic = board.lapics[0]
        lapic.write_register(Register.LVT_ERROR, 15)
        board.send(15 | TO_SELF)
        lapic.write_register(Register.ESR, 0)
        assert lapic.read_register(Register.ESR) == 1 << 5 | 1 << 6
        assert not board.heard


class TestXapic:
    def test_the_registers_after_reset(self) -> None:
        board = Board(enabled=False)
        expected = {
            Register.ID: 0,
            Register.VERSION: 0x50014,
            Register.DFR: 0xFFFFFFFF,
            Register.SVR: 0xFF,
            Register.LVT_TIMER: MASKED,
            Register.LVT_LINT0: MASKED,
            Register.LVT_ERROR: MASKED,
            Register.TIMER_INITIAL: 0,
            Register.ICR: 0,
        }
        assert {offset: board.page.read(offset, 4) for offset in expected} == expected
        assert board.lapics[3].read_register(Register.ID) == 6 << 24

    def test_parts_of_a_register_can_be_read_and_written(self) -> None:
        page = Board().page
        assert page.read(Register.VERSION + 2, 1) == 5
        assert page.read(Register.VERSION, 2) == 0x14
        assert page.read(Register.VERSION + 2, 4) == 0
        assert page.read(Register.VERSION, 8) == 0
        page.write(Register.LDR, 4, 0x12000000)
        page.write(Register.LDR + 3, 1, 0x34)
        assert page.read(Register.LDR, 4) == 0x34000000

    def test_the_busy_bit_of_a_command_is_never_seen(self) -> None:
        page = Board().page
        page.write(Register.ICR, 4, 0x40 | TO_SELF | 1 << 12)
        assert page.read(Register.ICR, 4) == 0x40 | TO_SELF

    def test_disabling_masks_the_local_vectors(self) -> None:
        page = Board().page
        page.write(Register.LVT_LINT0, 4, 0x700)
        assert page.read(Register.LVT_LINT0, 4) == 0x700
        page.write(Register.SVR, 4, 0xFF)
        assert page.read(Register.LVT_LINT0, 4) == MASKED | 0x700
        page.write(Register.LVT_TIMER, 4, 0x40)
        assert page.read(Register.LVT_TIMER, 4) == MASKED | 0x40

    def test_there_is_no_page_in_x2apic_mode(self) -> None:
        board = Board(x2apic=True)
        assert board.page.read(Register.VERSION, 4) == 0xFFFFFFFF
        assert board.page.read(Register.VERSION, 1) == 0xFF
        board.page.write(Register.TPR, 4, 0x50)
        assert board.lapics[0].read_register(Register.TPR) == 0


class TestX2apic:
    def test_msrs_fault_in_xapic_mode(self) -> None:
        lapic = Board().lapics[0]
        assert refuses(lapic.read_msr, msr(Register.VERSION))
        assert refuses(lapic.write_msr, msr(Register.TPR), 0)

    def test_the_ids(self) -> None:
        board = Board(20, x2apic=True)
        lapic = board.lapics[19]
        assert lapic.read_msr(msr(Register.ID)) == 38
        assert lapic.read_msr(msr(Register.LDR)) == 2 << 16 | 1 << 6

    @pytest.mark.parametrize("number", range(0x100))
    def test_which_msrs_there_are(self, number: int) -> None:
        """As Xen's guest_rdmsr_x2apic() and guest_wrmsr_x2apic(), less the CMCI."""
        readable = {
            0x2,
            0x3,
            0x8,
            0xA,
            0xD,
            0xF,
            *range(0x10, 0x29),
            0x30,
            *range(0x32, 0x3A),
            0x3E,
        }
        writable = {0x8, 0xB, 0xF, 0x28, 0x30, *range(0x32, 0x39), 0x3E, 0x3F}
        lapic = Board(1, x2apic=True).lapics[0]
        assert refuses(lapic.read_msr, 0x800 + number) == (number not in readable)
        assert refuses(lapic.write_msr, 0x800 + number, 0) == (number not in writable)

    @pytest.mark.parametrize(
        ("register", "value"),
        [
            (Register.TPR, 0x100),
            (Register.EOI, 1),
            (Register.ESR, 1),
            (Register.SVR, 0x400),
            (Register.ICR, 1 << 13),
            (Register.ICR, 1 << 20),
            (Register.LVT_TIMER, 1 << 18),
            (Register.LVT_ERROR, 0x100),
            (Register.TIMER_INITIAL, 1 << 32),
            (Register.TIMER_DIVIDE, 4),
            (Register.SELF_IPI, 0x100),
        ],
    )
    def test_reserved_bits_fault(self, register: Register, value: int) -> None:
        assert refuses(Board(1, x2apic=True).lapics[0].write_msr, msr(register), value)

    def test_the_command_register_has_64_bits(self) -> None:
        lapic = Board(x2apic=True).lapics[0]
        lapic.write_msr(msr(Register.ICR), 0x1234 << 32 | 0x40)
        assert lapic.read_msr(msr(Register.ICR)) == 0x1234 << 32 | 0x40

    def test_an_ipi_to_itself(self) -> None:
        board = Board(x2apic=True)
        board.lapics[1].write_msr(msr(Register.SELF_IPI), 0x77)
        assert board.who_has(0x77) == [2]


class TestBase:
    @pytest.mark.parametrize(
        ("before", "after", "allowed"),
        [
            (ENABLE, ENABLE, True),
            (ENABLE, ENABLE | X2APIC, True),
            (ENABLE, 0, True),
            (ENABLE, X2APIC, False),
            (ENABLE | X2APIC, ENABLE | X2APIC, True),
            (ENABLE | X2APIC, ENABLE, False),
            (ENABLE | X2APIC, X2APIC, False),
            (ENABLE | X2APIC, 0, True),
            (0, 0, True),
            (0, ENABLE, True),
            (0, ENABLE | X2APIC, False),
            (0, X2APIC, False),
        ],
    )
    def test_the_transitions_of_the_manual(self, before: int, after: int, allowed: bool) -> None:
        lapic = Board().lapics[0]
        lapic.write_base(BASE | before)
        assert refuses(lapic.write_base, BASE | after) == (not allowed)
        assert lapic.read_base() & (ENABLE | X2APIC) == (after if allowed else before)

    def test_who_is_the_bootstrap_processor(self) -> None:
        board = Board()
        for lapic in board.lapics:
            lapic.write_base(BASE | ENABLE | BSP)
            assert bool(lapic.read_base() & BSP) == (lapic is board.lapics[0])

    @pytest.mark.parametrize(
        "value", [0xFEE01000 | ENABLE, BASE | ENABLE | 1, 1 << 40 | BASE | ENABLE]
    )
    def test_reserved_bits_and_other_addresses_fault(self, value: int) -> None:
        assert refuses(Board().lapics[0].write_base, value)

    def test_disabling_it_resets_it(self) -> None:
        lapic = Board().lapics[0]
        lapic.write_register(Register.TPR, 0x30)
        lapic.raise_vector(0x40)
        lapic.write_base(BASE)
        lapic.write_base(BASE | ENABLE)
        assert lapic.read_register(Register.TPR) == 0
        assert not has(lapic, 0x40)


class TestInterprocessorInterrupts:
    @pytest.mark.parametrize("x2apic", [False, True])
    def test_shorthands(self, x2apic: bool) -> None:
        for shorthand, targets in (
            (TO_SELF, [2]),
            (TO_ALL, [0, 2, 4, 6]),
            (TO_OTHERS, [0, 4, 6]),
        ):
            board = Board(x2apic=x2apic)
            board.send(0x40 | shorthand, sender=1)
            assert board.who_has(0x40) == targets

    @pytest.mark.parametrize("x2apic", [False, True])
    def test_a_physical_destination(self, x2apic: bool) -> None:
        board = Board(x2apic=x2apic)
        board.send(0x40, 4)
        board.send(0x41, 5)
        assert (board.who_has(0x40), board.who_has(0x41)) == ([4], [])

    def test_physical_broadcasts(self) -> None:
        board = Board()
        board.send(0x40, 0xFF)
        assert len(board.who_has(0x40)) == 4
        board = Board(x2apic=True)
        board.send(0x40, 0xFFFFFFFF)
        assert len(board.who_has(0x40)) == 4
        board.send(0x41, 0xFF)
        assert board.who_has(0x41) == []

    def test_a_flat_logical_destination(self) -> None:
        board = Board()
        for number, lapic in enumerate(board.lapics):
            lapic.write_register(Register.LDR, 1 << 24 + number)
        board.send(0x40 | LOGICAL, 0b1010)
        board.send(0x41 | LOGICAL, 0xFF)
        assert board.who_has(0x40) == [2, 6]
        assert len(board.who_has(0x41)) == 4

    def test_a_clustered_logical_destination(self) -> None:
        board = Board()
        for lapic, logical in zip(board.lapics, (0x11, 0x12, 0x21, 0x24), strict=True):
            lapic.write_register(Register.DFR, 0)
            lapic.write_register(Register.LDR, logical << 24)
        board.send(0x40 | LOGICAL, 0x13)
        board.send(0x41 | LOGICAL, 0x24)
        assert (board.who_has(0x40), board.who_has(0x41)) == ([0, 2], [6])

    def test_a_logical_destination_in_x2apic_mode_is_a_cluster_and_a_mask(self) -> None:
        board = Board(20, x2apic=True)
        board.send(0x40 | LOGICAL, 1 << 16 | 0b101)
        assert board.who_has(0x40) == [16, 18]

    def test_the_lowest_priority_takes_it(self) -> None:
        board = Board()
        for lapic, priority in zip(board.lapics, (0x80, 0x40, 0x20, 0x60), strict=True):
            lapic.write_register(Register.TPR, priority)
        board.send(0x90 | LOWEST | TO_ALL)
        assert board.who_has(0x90) == [4]

    def test_one_that_is_disabled_takes_no_interrupt(self) -> None:
        board = Board()
        board.lapics[1].write_register(Register.SVR, 0xFF)
        board.send(0x40 | TO_ALL)
        board.send(0x41 | LOWEST, 2)
        assert board.who_has(0x40) == [0, 4, 6]
        assert board.who_has(0x41) == []

    def test_nmi_init_and_start_up_reach_even_one_that_is_disabled(self) -> None:
        board = Board(enabled=False)
        board.send(NMI, 2)
        board.send(INIT | 1 << 14, 4)
        board.send(STARTUP | 0x9A, 4)
        assert board.heard == [("nmi", 2), ("init", 4), ("startup 0x9a", 4)]

    def test_a_level_de_assert_of_init_does_nothing(self) -> None:
        board = Board()
        board.send(INIT | 1 << 15, 4)
        assert not board.heard

    @pytest.mark.parametrize("mode", [2, 3, 7])
    def test_modes_that_are_not_served_do_nothing(self, mode: int) -> None:
        board = Board()
        board.send(mode << 8 | 0x40, 2)
        assert not board.heard


class TestTimer:
    def timer(self, board: Board, entry: int, initial: int, divide: int = 0xB) -> None:
        lapic = board.lapics[0]
        lapic.write_register(Register.TIMER_DIVIDE, divide)
        lapic.write_register(Register.LVT_TIMER, entry)
        lapic.write_register(Register.TIMER_INITIAL, initial)

    def fired(self, board: Board) -> bool:
        lapic = board.lapics[0]
        if not has(lapic, 0x40):
            return False
        lapic.accept(0x40)
        lapic.write_register(Register.EOI, 0)
        return True

    def test_one_shot(self) -> None:
        board = Board()
        self.timer(board, 0x40, 100)
        board.pass_time(999)
        assert not self.fired(board)
        assert board.lapics[0].read_register(Register.TIMER_CURRENT) == 1
        board.pass_time(1)
        assert self.fired(board)
        board.pass_time(10_000)
        assert not self.fired(board)
        assert board.lapics[0].read_register(Register.TIMER_CURRENT) == 0
        assert board.lapics[0].read_register(Register.TIMER_INITIAL) == 100

    def test_periodic(self) -> None:
        board = Board()
        self.timer(board, 0x40 | 1 << 17, 100_000)
        for _ in range(3):
            board.pass_time(999_999)
            assert not self.fired(board)
            board.pass_time(1)
            assert self.fired(board)
        board.pass_time(250_000)
        assert board.lapics[0].read_register(Register.TIMER_CURRENT) == 75_000

    def test_periods_that_were_missed_are_dropped_and_the_phase_is_kept(self) -> None:
        board = Board()
        self.timer(board, 0x40 | 1 << 17, 100_000)
        board.pass_time(5_500_000)
        assert self.fired(board)
        assert not self.fired(board)
        board.pass_time(499_999)
        assert not self.fired(board)
        board.pass_time(1)
        assert self.fired(board)

    def test_the_shortest_period_leaves_the_guest_time(self) -> None:
        board = Board()
        self.timer(board, 0x40 | 1 << 17, 1)
        count = 0
        for _ in range(100):
            board.pass_time(10_000)
            count += self.fired(board)
        assert count <= 12

    @pytest.mark.parametrize(
        ("divide", "divisor"),
        [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (0xA, 128), (0xB, 1)],
    )
    def test_divisors(self, divide: int, divisor: int) -> None:
        board = Board()
        self.timer(board, 0x40, 1000, divide)
        board.pass_time(10_000 * divisor - 1)
        assert not self.fired(board)
        board.pass_time(1)
        assert self.fired(board)

    def test_a_masked_timer_counts_but_does_not_interrupt(self) -> None:
        board = Board()
        self.timer(board, 0x40 | MASKED, 100)
        board.pass_time(500)
        assert board.lapics[0].read_register(Register.TIMER_CURRENT) == 50
        board.pass_time(500)
        assert not self.fired(board)

    def test_writing_zero_stops_it(self) -> None:
        board = Board()
        self.timer(board, 0x40, 100)
        board.lapics[0].write_register(Register.TIMER_INITIAL, 0)
        board.pass_time(10_000)
        assert not self.fired(board)
        assert board.lapics[0].read_register(Register.TIMER_CURRENT) == 0

    def test_another_divisor_changes_the_pace_from_here_on(self) -> None:
        board = Board()
        self.timer(board, 0x40, 100)
        board.pass_time(500)
        board.lapics[0].write_register(Register.TIMER_DIVIDE, 0)
        assert board.lapics[0].read_register(Register.TIMER_CURRENT) == 50
        board.pass_time(999)
        assert not self.fired(board)
        board.pass_time(1)
        assert self.fired(board)

    def test_a_change_of_mode_keeps_the_count(self) -> None:
        board = Board()
        self.timer(board, 0x40, 100_000)
        board.pass_time(600_000)
        board.lapics[0].write_register(Register.LVT_TIMER, 0x40 | 1 << 17)
        assert board.lapics[0].read_register(Register.TIMER_CURRENT) == 40_000
        board.pass_time(400_000)
        assert self.fired(board)
        board.pass_time(1_000_000)
        assert self.fired(board)

    def test_a_timer_that_has_run_out_does_not_begin_anew_by_becoming_periodic(self) -> None:
        board = Board()
        self.timer(board, 0x40, 100)
        board.pass_time(1000)
        assert self.fired(board)
        board.lapics[0].write_register(Register.LVT_TIMER, 0x40 | 1 << 17)
        board.pass_time(100_000)
        assert not self.fired(board)
        assert board.lapics[0].read_register(Register.TIMER_CURRENT) == 0

    def test_an_interrupt_that_is_due_survives_a_write_to_the_vector_table(self) -> None:
        board = Board()
        self.timer(board, 0x40, 100)
        board.now += 2000
        board.lapics[0].write_register(Register.LVT_TIMER, 0x40 | 1 << 17)
        board.lapics[0].write_register(Register.LVT_TIMER, 0x40)
        board.pass_time(0)
        assert self.fired(board)

    def test_init_stops_it(self) -> None:
        board = Board()
        self.timer(board, 0x40, 100)
        board.lapics[0].reset()
        board.lapics[0].write_register(Register.SVR, SVR_ON)
        board.pass_time(10_000)
        assert not self.fired(board)


NUMBERS = st.one_of(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFF))
STEPS = st.one_of(
    st.tuples(st.just("store"), st.integers(0, 0xFFF), st.sampled_from((1, 2, 4, 8)), NUMBERS),
    st.tuples(st.just("register"), st.sampled_from([*Register]), st.just(4), NUMBERS),
    st.tuples(st.just("load"), st.integers(0, 0xFFF), st.sampled_from((1, 2, 4, 8)), st.just(0)),
    st.tuples(
        st.just("wrmsr"), st.integers(0x800, 0x8FF), st.just(0), st.integers(0, (1 << 64) - 1)
    ),
    st.tuples(st.just("wrmsr"), st.sampled_from([msr(r) for r in Register]), st.just(0), NUMBERS),
    st.tuples(st.just("rdmsr"), st.integers(0x800, 0x8FF), st.just(0), st.just(0)),
    st.tuples(
        st.just("base"), st.just(0), st.just(0), st.sampled_from((0, ENABLE, ENABLE | X2APIC))
    ),
    st.tuples(st.just("time"), st.just(0), st.just(0), st.integers(0, 10**9)),
    st.tuples(st.just("take"), st.just(0), st.just(0), st.just(0)),
)


@settings(max_examples=150)
@given(st.booleans(), st.lists(STEPS, max_size=25))
def test_no_access_does_harm(x2apic: bool, steps: list[tuple[str, int, int, int]]) -> None:
    board = Board(3, x2apic=x2apic)
    lapic = board.lapics[0]
    for what, where, size, value in steps:
        try:
            match what:
                case "store":
                    board.page.write(where, size, value)
                case "register":
                    board.page.write(where, 4, value)
                case "load":
                    assert 0 <= board.page.read(where, size) < 1 << 8 * size
                case "wrmsr":
                    lapic.write_msr(where, value)
                case "rdmsr":
                    assert 0 <= lapic.read_msr(where) < 1 << 64
                case "base":
                    lapic.write_base(BASE | value)
                case "time":
                    board.pass_time(value)
                case "take":
                    for each in board.lapics:
                        if each.pending_vector() >= 0:
                            each.accept(each.pending_vector())
        except GuestException:
            pass
        for each in board.lapics:
            check_invariants(each)


def check_invariants(lapic: LocalApic) -> None:
    vector = lapic.pending_vector()
    assert vector == -1 or 16 <= vector <= 255
    if vector >= 0:
        assert has(lapic, vector)
        assert vector >> 4 > lapic.processor_priority >> 4
    assert 0 <= lapic.processor_priority <= 0xFF
    assert 0 <= lapic.read_register(Register.TIMER_CURRENT) <= 0xFFFFFFFF
    assert lapic.read_register(Register.TIMER_CURRENT) <= lapic.read_register(
        Register.TIMER_INITIAL
    )
    for register in Register:
        limit = 64 if register is Register.ICR and lapic.x2apic else 32
        assert 0 <= lapic.read_register(register) < 1 << limit
