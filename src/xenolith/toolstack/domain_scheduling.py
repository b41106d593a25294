"""What a domain process makes of scheduling parameters: XEN_DOMCTL_SCHEDOP_putinfo of public/domctl.h.

The daemon tells them, which knows who else there is (daemon/credit.py); they hold until it tells others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from xenolith.hypervisor.throttle import Cap, Throttle, Together
from xenolith.toolstack.rpc import Body
from xenolith.toolstack.status_page import StatusPage
from xenolith.toolstack.weighted_share import Reported, WeightedShare, rival

if TYPE_CHECKING:
    from xenolith.toolstack.machine import Machine


class Orders(NamedTuple):
    """How a domain is to be scheduled."""

    weight: int
    cap: int
    """In percent of one CPU; 0: none."""
    slice_us: int
    ratelimit_us: int
    rivals: tuple[tuple[int, int], ...] = ()
    """Process and weight of each domain that is to get more than this one. Their status pages go with them."""


class DomainScheduling:
    """Follows orders."""

    def __init__(self, status: StatusPage) -> None:
        self._status = status
        self._rivals: Sequence[int] = ()

    def follow(self, params: Body, fds: Sequence[int]) -> Callable[[Machine], None]:
        """What to do about new orders, whose descriptors it owns; for the hypervisor thread."""
        orders = Orders(**params)

        def change(machine: Machine) -> None:
            machine.set_slices(orders.slice_us * 1000, orders.ratelimit_us * 1000)
            machine.throttle(self._throttle(orders, fds))
            before, self._rivals = self._rivals, fds
            for fd in before:
                os.close(fd)

        return change

    def _throttle(self, orders: Orders, fds: Sequence[int]) -> Throttle | None:
        throttles: list[Throttle] = []
        if orders.cap:
            throttles.append(Cap(orders.cap))
        if orders.rivals:
            rivals = [
                rival(pid, weight, fd) for (pid, weight), fd in zip(orders.rivals, fds, strict=True)
            ]
            throttles.append(WeightedShare(orders.weight, rivals))
        return Reported(Together(throttles), self._status) if throttles else None
