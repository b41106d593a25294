"""C struct layouts declared as typed tuples, with the natural alignment of the x86-64 psABI.

A layout names the C type that it mirrors, so that a test can compare every size and offset
with the compiler's view of Debian's libxen-dev headers.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any, Generic, TypeVar, get_args, get_type_hints

U8 = Annotated[int, "B"]
S8 = Annotated[int, "b"]
U16 = Annotated[int, "H"]
S16 = Annotated[int, "h"]
U32 = Annotated[int, "I"]
S32 = Annotated[int, "i"]
U64 = Annotated[int, "Q"]
S64 = Annotated[int, "q"]
"""Field types. A fixed byte array is ``Annotated[bytes, "16s"]``."""

T = TypeVar("T", bound=tuple[Any, ...])

LAYOUTS: list[Layout[Any]] = []
"""Every layout that mirrors a public C type, for the test against the headers."""


class Layout(Generic[T]):
    """The memory image of one C struct, read into and written from a NamedTuple.

    ``fields`` is a NamedTuple class whose annotations are the types above. A field whose name
    starts with ``pad`` or ``_`` has no counterpart in C and is not compared. ``c_type`` is the
    C type (``"struct xen_add_to_physmap"``) and ``header`` the public header below ``xen/`` that
    defines it; both are None for layouts of our own. ``c_names`` maps a field to its C
    designator where that differs (``{"mfn": "arg1.mfn"}``).
    """

    def __init__(
        self,
        fields: type[T],
        c_type: str | None = None,
        header: str | None = None,
        c_names: dict[str, str] | None = None,
    ) -> None:
        self.fields = fields
        self.c_type = c_type
        self.header = header
        self.c_names = c_names or {}
        self.offsets: dict[str, int] = {}
        self.format, self.size = self._measure(fields)
        self._struct = struct.Struct(self.format)
        self._make: Any = fields._make  # type: ignore[attr-defined]
        if c_type is not None:
            LAYOUTS.append(self)

    def _measure(self, fields: type[T]) -> tuple[str, int]:
        """Return the struct format with explicit padding, and the size in bytes."""
        offset, alignment, form = 0, 1, "<"
        for name, hint in get_type_hints(fields, include_extras=True).items():
            code: str = get_args(hint)[1]
            size = struct.calcsize("<" + code)
            align = 1 if code.endswith("s") else size
            gap = -offset % align
            form += f"{gap}x{code}" if gap else code
            self.offsets[name] = offset + gap
            offset += gap + size
            alignment = max(alignment, align)
        tail = -offset % alignment
        return form + (f"{tail}x" if tail else ""), offset + tail

    def unpack(self, buffer: bytes | bytearray | memoryview, offset: int = 0) -> T:
        """Read one struct from ``buffer`` at ``offset``; struct.error if it is too short."""
        record: T = self._make(self._struct.unpack_from(buffer, offset))
        return record

    def pack(self, record: T) -> bytes:
        """Return the struct's bytes, padding zeroed."""
        return self._struct.pack(*record)

    def pack_into(self, buffer: bytearray | memoryview, offset: int, record: T) -> None:
        """Write the struct into ``buffer`` at ``offset``, padding zeroed."""
        self._struct.pack_into(buffer, offset, *record)
