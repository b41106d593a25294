"""How single values look in a trace: numbers, addresses, names from the enums of abi/, times, text.

The conventions are those of strace(1); domain ids and status names are public/xen.h's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum

from xenolith.abi.errno import Errno
from xenolith.abi.xen import (
    DOMID_COW,
    DOMID_IDLE,
    DOMID_INVALID,
    DOMID_IO,
    DOMID_SELF,
    DOMID_XEN,
)

Show = Callable[[int], str]

TEXT_BYTES = 64
"""How much of a text is worth reading."""

_LARGEST_COUNT = 1_000_000
_NS_PER_US, _NS_PER_MS, _NS_PER_S = 1_000, 1_000_000, 1_000_000_000

_DOMIDS = {
    DOMID_SELF: "SELF",
    DOMID_IO: "IO",
    DOMID_XEN: "XEN",
    DOMID_COW: "COW",
    DOMID_INVALID: "INVALID",
    DOMID_IDLE: "IDLE",
}

_ERRNOS = {-member.value: f"-{member.name}" for member in Errno}

_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def _in_c(byte: int) -> str:
    character = chr(byte)
    plain = character if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
    return _ESCAPES.get(character, plain)


# Not the codec unicode_escape: it is imported when first used, which a jailed process cannot do.
_C_NOTATION = [_in_c(byte) for byte in range(256)]


def number(value: int) -> str:
    """A count or an index: decimal, but hexadecimal where it is too large to be one."""
    return str(value) if value < _LARGEST_COUNT else hex(value)


def domid(value: int) -> str:
    """A domain id."""
    return _DOMIDS.get(value) or str(value)


def vcpu(value: int) -> str:
    """A vCPU id."""
    return f"v{value}"


def span(nanoseconds: int) -> str:
    """A length of time in the unit that suits it, such as ``1.234 ms``."""
    size = abs(nanoseconds)
    if size < _NS_PER_MS:
        return f"{nanoseconds / _NS_PER_US:.1f} us"
    if size < _NS_PER_S:
        return f"{nanoseconds / _NS_PER_MS:.3f} ms"
    return f"{nanoseconds / _NS_PER_S:.6f} s"


def moment(system_time: int, now: int) -> str:
    """A system time (ns) as seen from another: ``+1.234 ms`` lies ahead; 0 is no time."""
    if not system_time:
        return "0"
    sign = "+" if system_time >= now else ""
    return sign + span(system_time - now)


def seconds(nanoseconds: int) -> str:
    """A system time in seconds."""
    return f"{nanoseconds / _NS_PER_S:.9f} s"


def name(member: IntEnum) -> str:
    """An enum's member as people know it: without the underscores that make it an identifier."""
    return member.name.strip("_")


def names(enum: type[IntEnum]) -> dict[int, str]:
    """The names of an enum's members by value."""
    return {member.value: name(member) for member in enum}


def one_of(enum: type[IntEnum]) -> Show:
    """Show the name of a value, or the number where it has none."""
    known = names(enum)

    def show(value: int) -> str:
        return known.get(value) or number(value)

    return show


def flags(known: Mapping[int, str]) -> Show:
    """Show a set of flags (mask to name) as ``host_map|readonly``, the unknown rest as a number."""

    def show(value: int) -> str:
        shown = [text for mask, text in known.items() if value & mask]
        rest = value & ~sum(mask for mask in known if value & mask)
        if rest or not shown:
            shown.append(hex(rest) if rest else "0")
        return "|".join(shown)

    return show


def bits(enum: type[IntEnum]) -> Show:
    """Show a set of flags whose bit numbers are an enum's members."""
    return flags({1 << value: text for value, text in names(enum).items()})


def error(value: int) -> str:
    """A negated error number, or any other result as a number."""
    return _ERRNOS.get(value) or number(value)


def text(data: bytes, size: int | None = None) -> str:
    """The beginning of a text of ``size`` bytes (len(data) if None) in C's notation."""
    shown = "".join(_C_NOTATION[byte] for byte in data[:TEXT_BYTES])
    more = "..." if (len(data) if size is None else size) > TEXT_BYTES else ""
    return f'"{shown}"{more}'


def c_string(data: bytes) -> str:
    """A text that ends at the first NUL."""
    return text(data.split(b"\0", 1)[0])
