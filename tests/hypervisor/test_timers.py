"""The timer queue against a sorted list."""

from __future__ import annotations

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from xenolith.hypervisor.timers import Timer, TimerQueue

NUMBERS = st.integers(0, 9)
DEADLINES = st.integers(0, 100)


class TimersAgainstAModel(RuleBasedStateMachine):
    """Ten timers; the model is a dictionary of deadlines and the order in which they were armed."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = TimerQueue(lambda _deadline: None)
        self.fired: list[int] = []
        self.timers = [self.queue.new(partial(self.fired.append, n)) for n in range(10)]
        self.model: dict[int, tuple[int, int]] = {}
        self.armed = 0

    def first(self) -> int | None:
        return min(self.model.values())[0] if self.model else None

    @rule(number=NUMBERS, deadline=DEADLINES)
    def arm(self, number: int, deadline: int) -> None:
        self.armed += 1
        self.model[number] = (deadline, self.armed)
        self.timers[number].arm(deadline)

    @rule(number=NUMBERS)
    def cancel(self, number: int) -> None:
        self.model.pop(number, None)
        self.timers[number].cancel()

    @rule(now=DEADLINES)
    def expire(self, now: int) -> None:
        due = sorted((when, number) for number, when in self.model.items() if when[0] <= now)
        self.fired.clear()
        self.queue.expire(now)
        assert self.fired == [number for _, number in due]
        for number in self.fired:
            del self.model[number]

    @invariant()
    def the_next_deadline_is_the_model_s(self) -> None:
        assert self.queue.next_deadline() == self.first()

    @invariant()
    def each_timer_knows_its_deadline(self) -> None:
        for number, timer in enumerate(self.timers):
            assert timer.deadline == self.model.get(number, (None,))[0]


TestTimersAgainstAModel = TimersAgainstAModel.TestCase
TestTimersAgainstAModel.settings = settings(max_examples=50, stateful_step_count=30)


class Waiter:
    """Sleeps until the moment that it was last told, as the scheduler does; then asks anew."""

    def __init__(self) -> None:
        self.queue = TimerQueue(self.hear)
        self.until: int | None = None

    def hear(self, deadline: int) -> None:
        self.until = deadline

    def ask(self) -> None:
        self.until = self.queue.next_deadline()


@given(
    st.lists(st.tuples(st.sampled_from(["arm", "cancel", "ask"]), NUMBERS, DEADLINES), max_size=40)
)
def test_a_waiter_that_listens_is_never_late(steps: list[tuple[str, int, int]]) -> None:
    waiter = Waiter()
    timers = [waiter.queue.new(lambda: None) for _ in range(10)]
    for step, number, deadline in steps:
        if step == "arm":
            timers[number].arm(deadline)
        elif step == "cancel":
            timers[number].cancel()
        else:
            waiter.ask()
        armed = [timer.deadline for timer in timers if timer.deadline is not None]
        if armed:
            assert waiter.until is not None
            assert waiter.until <= min(armed)


def test_a_flood_of_arming_does_not_grow_the_queue() -> None:
    queue = TimerQueue(lambda _deadline: None)
    timers = [queue.new(lambda: None) for _ in range(3)]
    for number in range(10_000):
        timers[number % 3].arm(1_000_000 - number)
    assert len(queue._heap) <= 130
    for number in range(10_000):
        timers[number % 3].arm(2_000_000 + number)
        timers[number % 3].cancel()
    assert len(queue._heap) <= 130


def test_many_live_timers_are_kept_through_a_flood() -> None:
    fired: list[int] = []
    queue = TimerQueue(lambda _deadline: None)
    for number in range(500):
        queue.new(partial(fired.append, number)).arm(number)
    busy = queue.new(lambda: None)
    for number in range(5_000):
        busy.arm(10_000 + number)
    queue.expire(1_000)
    assert fired == list(range(500))


def test_a_timer_may_arm_itself_and_others_when_it_fires() -> None:
    fired: list[str] = []
    queue = TimerQueue(lambda _deadline: None)

    def ring(name: str, timer: Timer, deadline: int) -> None:
        fired.append(name)
        timer.arm(deadline)

    second = queue.new(lambda: fired.append("second"))
    first = queue.new(lambda: ring("first", second, 15))
    periodic = queue.new(lambda: ring("periodic", periodic, 30))
    first.arm(10)
    periodic.arm(20)
    queue.expire(25)
    assert fired == ["first", "second", "periodic"]
    assert queue.next_deadline() == 30


def test_a_timer_that_cancels_another_that_is_due_wins() -> None:
    fired: list[str] = []
    queue = TimerQueue(lambda _deadline: None)
    victim = queue.new(lambda: fired.append("victim"))
    victim.arm(6)
    queue.new(victim.cancel).arm(5)
    queue.expire(10)
    assert not fired
