"""What holds for all tests: random ones have no deadlines, since a busy machine is no failure."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("xenolith", deadline=None)
settings.load_profile("xenolith")
