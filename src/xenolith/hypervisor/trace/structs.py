"""The structs behind a hypercall's pointers, decoded by their abi/ layouts.

A field's name mostly tells what it holds, so a table only says which fields are answers and what is special.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from xenolith.abi.errno import XenError
from xenolith.abi.layout import Layout
from xenolith.hypervisor.guest_access import layout_of, read_struct, read_words
from xenolith.hypervisor.trace import values
from xenolith.hypervisor.trace.decoding import Finish, Look, Registers, constant, fault
from xenolith.hypervisor.trace.values import Show
from xenolith.machine.address import GuestVirt

Derive = Callable[[Any, Look], str]
"""Shows a field that only makes sense together with others of its record, or with what it points to."""

_ITEMS_SHOWN = 4

_HEXADECIMAL = (
    "addr", "host_addr", "new_addr", "dev_bus_addr", "gpa", "offset", "frame", "mfn", "pfn", "gmfn", "gpfn",
    "control_gfn", "array_gfn", "v_start", "v_end", "max_mfn", "virt_start", "phys_id", "frame_list", "vdistance",
    "vcpu_to_vnode", "vmemrange", "table_base",
)  # fmt: skip

_BY_NAME: dict[str, Show] = {
    **dict.fromkeys(("dom", "remote_dom", "domid", "foreign_domid", "domain_id"), values.domid),
    **dict.fromkeys(_HEXADECIMAL, hex),
    "vcpu": values.vcpu,
}


class Struct:
    """A pointer, in register ``index``, to one struct.

    ``outs`` are the fields that the hypervisor answers in, shown as ``port→5``; ``both`` those that it reads and
    answers in, shown as ``nr_entries=128→7``.
    ``show`` and ``derived`` say how fields look whose names do not tell it; ``hidden`` are not shown.
    """

    def __init__(
        self,
        layout: Layout[Any],
        outs: Sequence[str] = (),
        both: Sequence[str] = (),
        show: Mapping[str, Show] | None = None,
        derived: Mapping[str, Derive] | None = None,
        hidden: Sequence[str] = (),
        index: int = 1,
    ) -> None:
        self.layout = layout
        self._index = index
        fields = [
            name
            for name in layout.offsets
            if not name.startswith(("pad", "rsvd")) and name not in hidden
        ]
        derives = {name: _show_field(layout, name, show or {}) for name in fields}
        derives.update(derived or {})
        self._ins = _select(fields, derives, lambda name: name not in outs and name not in both)
        self._both = _select(fields, derives, lambda name: name in both)
        self._outs = _select(fields, derives, lambda name: name in outs)

    def read(self, look: Look, registers: Registers) -> Finish:
        """See decoding.Argument."""
        return self.at(look, registers[self._index])

    def at(self, look: Look, address: int) -> Finish:
        """Read the struct at a guest-virtual address."""
        if not address:
            return constant("NULL")
        inputs: list[str] = []
        asked: list[str] = []
        if self._ins or self._both:
            try:
                record = read_struct(look.access, self.layout, GuestVirt(address))
            except XenError:
                return constant(fault(address))
            inputs = [f"{name}={derive(record, look)}" for name, derive in self._ins]
            asked = [f"{name}={derive(record, look)}" for name, derive in self._both]
        if not (self._outs or self._both):
            return constant(_braces(inputs))

        def finish(answered: bool) -> str:
            if not answered:
                return _braces(inputs + asked) if inputs or asked else f"{address:#x}"
            try:
                answer = read_struct(look.access, self.layout, GuestVirt(address))
            except XenError:
                return _braces([*inputs, *asked, "<EFAULT>"])
            changed = [
                _changed(before, name, derive(answer, look))
                for before, (name, derive) in zip(asked, self._both, strict=True)
            ]
            outputs = [f"{name}→{derive(answer, look)}" for name, derive in self._outs]
            return _braces(inputs + changed + outputs)

        return finish

    def describe(self, record: Any, look: Look) -> str:
        """Show the inputs of a record that is part of another one."""
        return _braces([f"{name}={derive(record, look)}" for name, derive in self._ins])


class StructArray:
    """A pointer to an array of structs, whose length is in register ``count``; one is shown as a struct."""

    def __init__(self, struct: Struct, pointer: int = 1, count: int = 2) -> None:
        self._struct = struct
        self._pointer = pointer
        self._count = count

    def read(self, look: Look, registers: Registers) -> Finish:
        """See decoding.Argument."""
        address, count = registers[self._pointer], registers[self._count] & 0xFFFFFFFF
        size = layout_of(look.access, self._struct.layout).size
        shown = range(min(count, _ITEMS_SHOWN))
        finishes = [self._struct.at(look, address + number * size) for number in shown]
        if count == 1:
            return finishes[0]
        return lambda answered: _brackets([finish(answered) for finish in finishes], count)


def pointed(pointer: str, count: str, code: Literal["Q", "I", "i"], show: Show) -> Derive:
    """Show the list of integers (``code`` as in memoryview.cast) behind the field ``pointer``.

    ``count`` is the field that says how many they are.
    """
    size = 8 if code == "Q" else 4

    def read(look: Look, address: int, length: int) -> list[int]:
        return (
            memoryview(look.access.copy_from(GuestVirt(address), length * size)).cast(code).tolist()
        )

    return _listed(pointer, count, read, show)


def pointed_words(pointer: str, count: str, show: Show) -> Derive:
    """As :func:`pointed`, of integers that are as wide as the caller's words."""
    return _listed(
        pointer,
        count,
        lambda look, address, length: read_words(look.access, address, 0, length),
        show,
    )


def _listed(
    pointer: str, count: str, read: Callable[[Look, int, int], list[int]], show: Show
) -> Derive:
    def derive(record: Any, look: Look) -> str:
        address, length = getattr(record, pointer), getattr(record, count)
        try:
            items = read(look, address, min(length, _ITEMS_SHOWN))
        except XenError:
            return fault(address)
        return _brackets([show(item) for item in items], length)

    return derive


def pointed_structs(pointer: str, count: str, struct: Struct) -> Derive:
    """Show the structs behind the field ``pointer``; ``count`` is the field that says how many."""

    def derive(record: Any, look: Look) -> str:
        address, length = getattr(record, pointer), getattr(record, count)
        shown = range(min(length, _ITEMS_SHOWN))
        size = layout_of(look.access, struct.layout).size
        return _brackets([struct.at(look, address + i * size)(True) for i in shown], length)

    return derive


def moment(field: str) -> Derive:
    """Show a field that holds a system time, as seen from now."""
    return lambda record, look: values.moment(getattr(record, field), look.now)


def within(field: str, struct: Struct) -> Derive:
    """Show a field that is itself a struct."""
    return lambda record, look: struct.describe(getattr(record, field), look)


def _select(
    fields: list[str], derives: Mapping[str, Derive], wanted: Callable[[str], bool]
) -> list[tuple[str, Derive]]:
    return [(name.strip("_"), derives[name]) for name in fields if wanted(name)]


def _show_field(layout: Layout[Any], name: str, show: Mapping[str, Show]) -> Derive:
    position = list(layout.offsets).index(name)
    show_value = show.get(name) or _BY_NAME.get(name, values.number)
    return lambda record, _look: show_value(record[position])


def _changed(before: str, name: str, after: str) -> str:
    return before if before == f"{name}={after}" else f"{before}→{after}"


def _braces(texts: list[str]) -> str:
    return "{" + ", ".join(texts) + "}"


def _brackets(texts: list[str], count: int) -> str:
    more = ["..."] if count > len(texts) else []
    return "[" + ", ".join(texts + more) + "]"
