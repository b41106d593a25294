"""What a backend needs of the domain that it serves, as a driver in domain 0 has it by hypercalls."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from xenolith.hypervisor.event_channel import EventChannelTable
from xenolith.hypervisor.grant_table import GrantTable


class Guest(NamedTuple):
    """A domain, to be used in its hypervisor thread; only ``post`` may be called from any thread."""

    domid: int
    grants: GrantTable
    """Map references with domid 0: backends are domain 0's."""
    event_channels: EventChannelTable
    post: Callable[[Callable[[], None]], None]
    """Runs a call in the hypervisor thread soon."""
    defer: Callable[[Callable[[], None]], None]
    """Runs a call when a vCPU goes to sleep, or half a millisecond later."""
    log: Callable[[str], None]
    """A line for `xl dmesg`."""
    hold: Callable[[str], None]
    """Pauses the domain as `xl pause` does and logs why; `xl unpause` calls every backend's resumed()."""
