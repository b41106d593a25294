"""A PV kernel of the kind that Mini-OS was: a section instead of notes, hypercalls by the page."""

from __future__ import annotations

import pytest

from .build import GuestBuilder
from .harness import PvGuestDomain

pytestmark = pytest.mark.guest


def test_it_runs(legacy_pv_guests: GuestBuilder) -> None:
    kernel = legacy_pv_guests.build("corners/mini_os")
    with PvGuestDomain(kernel, cmdline="answer=42", domid=7) as domain:
        domain.wait_success()
    assert not domain.log_lines
