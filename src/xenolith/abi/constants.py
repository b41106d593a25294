"""The tie between our enums and the C names that they stand for.

An ABI module names the header that it mirrors in ``HEADER``; a test has the compiler print every
enum member and every module-level integer of such a module and compares them.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TypeVar

E = TypeVar("E", bound=type[IntEnum])

C_PREFIXES: dict[type[IntEnum], str] = {}
"""Every enum of C constants, and what precedes each member's name in C."""


def c_constants(prefix: str) -> Callable[[E], E]:
    """Register an enum whose members are named as in C, less ``prefix``.

    An underscore at either end of a member's name only makes it an identifier (``yield_``,
    ``_4gb_segments``) and is not part of the C name.
    """

    def register(enum: E) -> E:
        C_PREFIXES[enum] = prefix
        return enum

    return register


def c_name(member: IntEnum) -> str:
    """The C name of a registered enum's member."""
    return C_PREFIXES[type(member)] + member.name.strip("_")
