"""The switch without its sockets: learning, flooding, ageing, and domains that misbehave."""

from __future__ import annotations

from packets import BROADCAST, MAC_A, MAC_B

from xenolith.net.switch import AGEING_S, MAX_ADDRESSES_PER_PORT, Switch


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def frame(target: bytes, source: bytes) -> bytes:
    return target + source + b"\x08\x00" + bytes(46)


def switch_of(*ports: str) -> tuple[Switch[str], Clock]:
    clock = Clock()
    switch: Switch[str] = Switch(clock)
    for port in ports:
        switch.add(port)
    return switch, clock


def test_what_is_not_known_goes_everywhere_else_and_is_learnt_by_the_answer() -> None:
    switch, _ = switch_of("a", "b", "c")
    assert switch.forward("a", frame(MAC_B, MAC_A)) == ["b", "c"]
    assert switch.forward("b", frame(MAC_A, MAC_B)) == ["a"]
    assert switch.forward("a", frame(MAC_B, MAC_A)) == ["b"]
    assert switch.forward("c", frame(MAC_B, MAC_A)) == ["b"]


def test_broadcast_and_multicast_are_flooded_and_never_learnt() -> None:
    switch, _ = switch_of("a", "b", "c")
    assert switch.forward("a", frame(BROADCAST, MAC_A)) == ["b", "c"]
    group = bytes.fromhex("01005e000001")
    assert switch.forward("b", frame(group, group)) == ["a", "c"]
    assert switch.forward("a", frame(group, MAC_A)) == ["b", "c"]


def test_nothing_goes_back_where_it_came_from() -> None:
    switch, _ = switch_of("a", "b")
    switch.forward("a", frame(BROADCAST, MAC_A))
    assert switch.forward("a", frame(MAC_A, MAC_B)) == []


def test_an_address_moves_with_its_interface_and_is_forgotten_with_its_port() -> None:
    switch, _ = switch_of("a", "b", "c")
    switch.forward("a", frame(BROADCAST, MAC_A))
    switch.forward("b", frame(BROADCAST, MAC_A))
    assert switch.forward("c", frame(MAC_A, MAC_B)) == ["b"]
    switch.remove("b")
    assert switch.forward("c", frame(MAC_A, MAC_B)) == ["a"]
    assert switch.ports == ["a", "c"]


def test_an_address_that_is_silent_for_long_is_flooded_again() -> None:
    switch, clock = switch_of("a", "b", "c")
    switch.forward("a", frame(BROADCAST, MAC_A))
    clock.now += AGEING_S - 1
    assert switch.forward("b", frame(MAC_A, MAC_B)) == ["a"]
    clock.now += 2
    assert switch.forward("b", frame(MAC_A, MAC_B)) == ["a", "c"]
    switch.forward("a", frame(BROADCAST, MAC_A))
    assert switch.forward("b", frame(MAC_A, MAC_B)) == ["a"]


def test_a_domain_that_invents_addresses_forgets_its_own_only() -> None:
    switch, _ = switch_of("liar", "b", "c")
    switch.forward("b", frame(BROADCAST, MAC_B))
    for number in range(10_000):
        switch.forward("liar", frame(BROADCAST, b"\x02\0" + number.to_bytes(4, "big")))
    assert switch.forward("liar", frame(MAC_B, MAC_A)) == ["b"]
    newest = b"\x02\0" + (9_999).to_bytes(4, "big")
    oldest = b"\x02\0" + (10_000 - MAX_ADDRESSES_PER_PORT - 1).to_bytes(4, "big")
    assert switch.forward("b", frame(newest, MAC_B)) == ["liar"]
    assert switch.forward("b", frame(oldest, MAC_B)) == ["liar", "c"]


def test_what_is_too_short_for_a_frame_goes_nowhere() -> None:
    switch, _ = switch_of("a", "b")
    for size in range(14):
        assert switch.forward("a", frame(BROADCAST, MAC_A)[:size]) == []
