"""Lines, and what is made of them: taking apart, choosing, stamping, adding up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.hypervisor.trace import line, stamps
from xenolith.hypervisor.trace.filter import Filter, FilterError
from xenolith.hypervisor.trace.line import CallParts, EventParts, Line
from xenolith.hypervisor.trace.summary import Summary

TRACE = """\
    0.100000 v0  multicall(2 calls) = 0 <30.0 us>
    0.100010 v0    event_channel_op(send, {port=9}) = 0 <10.0 us>
    0.100015 v0      event: port 9 (ipi) v0 → v1
    0.100020 v0    event_channel_op(send, {port=5000}) = -EINVAL (port 5000 is not valid) <5.0 us>
    0.200000 -   event: port 3 (virq timer) → v0
    1.000000 v1  sched_op(block) = 0 <20.0 us>
    2.500000 v1  set_timer_op(+1.234 ms) = 0 <6.0 us>
"""

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"))


def lines(text: str = TRACE) -> list[Line]:
    parsed = [line.parse(one) for one in text.splitlines()]
    return [one for one in parsed if one is not None]


@given(
    st.integers(0, 10**12),
    st.integers(0, 200).map(lambda vcpu: f"v{vcpu}") | st.just(line.NOBODY),
    st.integers(0, 3),
    st.text("abc (){}=→", min_size=1).filter(lambda what: not what.startswith(" ")),
)
def test_lines_are_read_as_written(time_us: int, who: str, depth: int, what: str) -> None:
    written = Line(time_us, who, depth, what)
    assert line.parse(str(written)) == written


@given(texts)
def test_any_text_can_be_read(text: str) -> None:
    line.parse(text)
    line.parse_call(text)
    line.parse_event(text)
    line.parse_attached(text)


def test_the_sample_is_read_as_written() -> None:
    assert "".join(f"{traced}\n" for traced in lines()) == TRACE
    assert [traced.depth for traced in lines()] == [0, 1, 2, 1, 0, 0, 0]
    assert line.parse("[12 lines are missing here]") is None


@pytest.mark.parametrize(
    ("what", "parts"),
    [
        ("sched_op(block) = 0 <20.0 us>", CallParts("sched_op", "block", "0", 20.0)),
        ("multicall(2 calls) = 0 <3.0 us>", CallParts("multicall", "", "0", 3.0)),
        ("hvm_op(99, 0x0) = -ENOSYS (no) <1.5 us>", CallParts("hvm_op", "", "-ENOSYS", 1.5)),
        (
            "memory_op(populate_physmap from 512, {}) = <continued> <1.0 us>",
            CallParts("memory_op", "populate_physmap", "<continued>", 1.0),
        ),
        (
            'console_io(write, 9, "a(b) = 1 <2.0 us>") = 0 <4.0 us>',
            CallParts("console_io", "write", "0", 4.0),
        ),
    ],
)
def test_calls_are_taken_apart(what: str, parts: CallParts) -> None:
    assert line.parse_call(what) == parts
    assert parts.failed == (parts.result == "-ENOSYS")


def test_events_are_taken_apart() -> None:
    assert line.parse_event("event: port 3 (virq timer) → v0") == EventParts(3, "virq timer")
    assert line.parse_event("sched_op(block) = 0 <20.0 us>") is None


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("sched_op", [5]),
        ("send", [1, 3]),
        ("event", [2, 4]),
        ("virq,set_timer_op", [4, 6]),
        ("ipi", [2]),
        ("!event_channel_op, event", [0, 5, 6]),
        ("!console_io", [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_filter(expression: str, shown: list[int]) -> None:
    chosen = Filter(expression)
    selected = [index for index, one in enumerate(lines()) if chosen.select(one) is not None]
    assert selected == shown


def test_what_is_filtered_moves_to_the_left() -> None:
    chosen = Filter("send,ipi")
    selected = [one for one in map(chosen.select, lines()) if one is not None]
    assert [traced.depth for traced in selected] == [0, 1, 0]
    chosen = Filter("multicall,ipi")
    selected = [one for one in map(chosen.select, lines()) if one is not None]
    assert [traced.depth for traced in selected] == [0, 1]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        (
            "shed_op",
            "'shed_op' is no hypercall, command or kind of event (did you mean 'sched_op'?)",
        ),
        ("", "'' is no hypercall, command or kind of event"),
        ("send,zzzzzz", "'zzzzzz' is no hypercall, command or kind of event"),
    ],
)
def test_filters_that_make_no_sense(expression: str, why: str) -> None:
    with pytest.raises(FilterError) as failure:
        Filter(expression)
    assert str(failure.value) == why


def test_stamps() -> None:
    times = [traced.time_us for traced in lines()]
    assert stamps.system_time(times[-1], 0) == "    2.500000"
    since = stamps.since_last()
    assert [since(time_us, 0) for time_us in times[:3]] == [
        "    0.000000",
        "    0.000010",
        "    0.000005",
    ]


@pytest.mark.usefixtures("utc")
def test_time_of_day() -> None:
    midnight_us = 1_767_225_600_000_000
    assert stamps.time_of_day(3_661_000_042, midnight_us) == "01:01:01.000042"


def test_summary() -> None:
    summary = Summary()
    for traced in lines():
        summary.add(traced)
    assert (
        summary.table()
        == """\
% time     seconds  usecs/call     calls    errors hypercall
------ ----------- ----------- --------- --------- ----------------
 35.71    0.000020        20.0         1           sched_op(block)
 26.79    0.000015        15.0         1           multicall
 26.79    0.000015         7.5         2         1 event_channel_op(send)
 10.71    0.000006         6.0         1           set_timer_op
------ ----------- ----------- --------- --------- ----------------
100.00    0.000056        11.2         5         1 total

   events port
--------- ----------------
        1 port 9 (ipi)
        1 port 3 (virq timer)
"""
    )


def test_summary_of_nothing() -> None:
    assert Summary().table().splitlines()[-1] == (
        "  0.00    0.000000         0.0         0           total"
    )
