"""How a measurement fails."""

from __future__ import annotations


class BenchError(Exception):
    """A figure could not be measured; the message is one sentence."""
