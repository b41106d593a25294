"""C struct layouts declared as typed tuples, as the x86-64 psABI lays them out, and as the i386 one does.

A layout names the C type that it mirrors, so that a test can compare every size and offset
with the compiler's view of Debian's libxen-dev headers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar, get_args, get_type_hints

U8 = Annotated[int, "B"]
S8 = Annotated[int, "b"]
U16 = Annotated[int, "H"]
S16 = Annotated[int, "h"]
U32 = Annotated[int, "I"]
S32 = Annotated[int, "i"]
U64 = Annotated[int, "Q"]
S64 = Annotated[int, "q"]
ULONG = Annotated[int, "Q", "I"]
"""Field types. A byte array is ``Annotated[bytes, "16s"]``, an array of integers
``Annotated[tuple[int, ...], "6Q"]``, a nested struct ``Annotated[Inner, INNER]``, INNER being its
layout. A second code is that of a 32-bit guest: ULONG is a pointer, a frame number or an unsigned long."""

T = TypeVar("T", bound=tuple[Any, ...])

LAYOUTS: list[Layout[Any]] = []
"""Every layout that mirrors a public C type, for the test against the headers."""


class Layout(Generic[T]):
    """The memory image of one C struct, read into and written from a NamedTuple.

    ``fields`` is a NamedTuple class whose annotations are the types above. A field whose name
    starts with ``pad`` or ``_`` has no counterpart in C and is not compared. ``c_type`` is the
    C type (``"struct xen_add_to_physmap"``) and ``header`` the public header below ``xen/`` that
    defines it; both are None for layouts of our own. ``c_names`` maps a field to its C
    designator where that differs (``{"mfn": "arg1.mfn"}``). ``pack`` caps the alignment of the
    fields, in bytes, as ``#pragma pack`` does. ``word`` is how many bytes an unsigned long has.
    """

    def __init__(
        self,
        fields: type[T],
        c_type: str | None = None,
        header: str | None = None,
        c_names: dict[str, str] | None = None,
        pack: int = 8,
        word: int = 8,
    ) -> None:
        self.fields = fields
        self.c_type = c_type
        self.header = header
        self.c_names = c_names or {}
        self._pack = min(pack, word)
        self._word = word
        self.offsets: dict[str, int] = {}
        self._composites: list[tuple[int, _Composite]] = []
        self.format, self.size, self.alignment = self._measure(fields)
        self._struct = struct.Struct(self.format)
        self._make: Any = fields._make  # type: ignore[attr-defined]
        if c_type is not None:
            LAYOUTS.append(self)

    @cached_property
    def compat(self) -> Layout[T]:
        """The layout that the same struct has in a 32-bit guest (the i386 psABI)."""
        return self if self._word == 4 else Layout(self.fields, pack=self._pack, word=4)

    def _measure(self, fields: type[T]) -> tuple[str, int, int]:
        """Return the struct format with explicit padding, and size and alignment in bytes."""
        offset, alignment, form = 0, 1, "<"
        for index, (name, hint) in enumerate(get_type_hints(fields, include_extras=True).items()):
            code, size, align, composite = _describe(self._kind(get_args(hint)[1:]))
            if composite is not None:
                self._composites.append((index, composite))
            align = min(align, self._pack)
            gap = -offset % align
            form += f"{gap}x{code}" if gap else code
            self.offsets[name] = offset + gap
            offset += gap + size
            alignment = max(alignment, align)
        tail = -offset % alignment
        return form + (f"{tail}x" if tail else ""), offset + tail, alignment

    def _kind(self, kinds: tuple[str | Layout[Any], ...]) -> str | Layout[Any]:
        """What a field is for a guest of this word size."""
        if self._word == 8:
            return kinds[0]
        kind = kinds[-1]
        return kind.compat if isinstance(kind, Layout) else kind

    def unpack(self, buffer: bytes | bytearray | memoryview, offset: int = 0) -> T:
        """Read one struct from ``buffer`` at ``offset``; struct.error if it is too short."""
        values: Any = self._struct.unpack_from(buffer, offset)
        if self._composites:
            values = list(values)
            for index, composite in self._composites:
                values[index] = composite.decode(values[index])
        record: T = self._make(values)
        return record

    def unpack_all(self, buffer: bytes | bytearray | memoryview) -> list[tuple[Any, ...]]:
        """Read an array of structs as plain tuples, which costs a third of :meth:`unpack` each.

        For layouts without arrays and nested structs.
        """
        return list(self._struct.iter_unpack(buffer))

    def pack(self, record: T) -> bytes:
        """Return the struct's bytes, padding zeroed."""
        return self._struct.pack(*self._flatten(record))

    def pack_into(self, buffer: bytearray | memoryview, offset: int, record: T) -> None:
        """Write the struct into ``buffer`` at ``offset``, padding zeroed."""
        self._struct.pack_into(buffer, offset, *self._flatten(record))

    def _flatten(self, record: T) -> Any:
        if not self._composites:
            return record
        values = list(record)
        for index, composite in self._composites:
            values[index] = composite.encode(values[index])
        return values


class _Composite:
    """How an array or a nested struct goes from and to the bytes that it occupies."""

    def __init__(self, decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]) -> None:
        self.decode = decode
        self.encode = encode


def _describe(kind: str | Layout[Any]) -> tuple[str, int, int, _Composite | None]:
    """Return struct code, size and alignment in bytes, and conversion of one field type."""
    if isinstance(kind, Layout):
        nested = _Composite(kind.unpack, kind.pack)
        return f"{kind.size}s", kind.size, kind.alignment, nested
    size = struct.calcsize("<" + kind)
    if kind.endswith("s"):
        return kind, size, 1, None
    align = struct.calcsize("<" + kind[-1])
    if len(kind) == 1:
        return kind, size, align, None
    form = struct.Struct("<" + kind)
    return f"{size}s", size, align, _Composite(form.unpack, lambda items: form.pack(*items))
