"""The exception of the domain builder."""

from __future__ import annotations


class BuildError(Exception):
    """A domain cannot be built; the message is one sentence that names the file and the fault."""
