"""Exceptions in words for the user."""

from __future__ import annotations


def reason(error: Exception) -> str:
    """Its message; of what the operating system refused, which file, if one is known, and why."""
    if not isinstance(error, OSError):
        return str(error)
    why = error.strerror or str(error)
    return f"{error.filename}: {why}" if error.filename else why
