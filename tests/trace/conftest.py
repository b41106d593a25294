from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from .traced_domain import TracedDomain


@pytest.fixture
def guest() -> TracedDomain:
    return TracedDomain()


@pytest.fixture
def utc() -> Iterator[None]:
    """A time zone that the test knows."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()
