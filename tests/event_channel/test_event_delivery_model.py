"""Both ABIs against a model: no event is lost, none is invented, every upcall is made.

The guest handles events only when evtchn_upcall_pending tells it to, so a missing upcall shows as
a lost event.
"""

from __future__ import annotations

from evtchn_guest import FifoConsumer, Guest, TwoLevelConsumer
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

VCPUS = 3
PORTS = st.integers(1, 12)


class EventDelivery(RuleBasedStateMachine):
    """Ports 1 to 12 are interdomain channels to a backend that notifies at random."""

    consumer: TwoLevelConsumer | FifoConsumer

    def __init__(self) -> None:
        super().__init__()
        self.guest = Guest(vcpus=VCPUS)
        self.table = self.guest.table
        self.backends = {}
        for _ in range(12):
            backend = self.table.connect_backend(lambda: None)
            self.backends[backend.port] = backend
        self.pending: set[int] = set()
        self.masked: set[int] = set()

    @rule(port=PORTS)
    def notify(self, port: int) -> None:
        self.backends[port].notify()
        self.pending.add(port)

    @rule(port=PORTS)
    def mask(self, port: int) -> None:
        self.consumer.set_mask(port)
        self.masked.add(port)

    @rule(port=PORTS)
    def unmask(self, port: int) -> None:
        self.table.unmask(port)
        self.masked.discard(port)

    @rule(port=PORTS, vcpu_id=st.integers(0, VCPUS - 1))
    def bind_vcpu(self, port: int, vcpu_id: int) -> None:
        self.table.bind_vcpu(port, vcpu_id)

    @precondition(lambda self: isinstance(self.consumer, FifoConsumer))
    @rule(port=PORTS, priority=st.integers(0, 15))
    def set_priority(self, port: int, priority: int) -> None:
        self.table.set_priority(port, priority)

    @rule(vcpu_id=st.integers(0, VCPUS - 1))
    def handle_events_of_one_vcpu(self, vcpu_id: int) -> None:
        for port in self.consumer.drain(vcpu_id):
            assert port in self.pending - self.masked
            self.pending.remove(port)

    @rule()
    def handle_all_events(self) -> None:
        for vcpu_id in range(VCPUS):
            self.handle_events_of_one_vcpu(vcpu_id)
        assert self.pending <= self.masked

    @invariant()
    def pending_and_masked_are_what_the_guest_sees(self) -> None:
        delivery = self.table._delivery
        for port in self.backends:
            channel = self.table.status(port)
            assert delivery.is_pending(channel) == (port in self.pending)
            assert delivery.is_masked(channel) == (port in self.masked)


class TwoLevelDelivery(EventDelivery):
    def __init__(self) -> None:
        super().__init__()
        self.consumer = TwoLevelConsumer(self.guest)


class FifoDelivery(EventDelivery):
    def __init__(self) -> None:
        super().__init__()
        self.consumer = FifoConsumer(self.guest)


TestTwoLevelDelivery = TwoLevelDelivery.TestCase
TestFifoDelivery = FifoDelivery.TestCase
TestTwoLevelDelivery.settings = settings(max_examples=60, stateful_step_count=40)
TestFifoDelivery.settings = settings(max_examples=60, stateful_step_count=40)
