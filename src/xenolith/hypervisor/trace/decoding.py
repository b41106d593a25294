"""The grammar of the decode tables: how the registers of a hypercall become the text between its parentheses.

Decoding has two steps, as in strace(1): what the guest passes in is copied before the call, what the hypervisor
answers after it. So an argument is read into a :data:`Finish`, which completes its text once the call is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import NamedTuple, Protocol

from xenolith.abi.errno import XenError
from xenolith.hypervisor.guest_access import LONG_WORD, GuestAccess
from xenolith.hypervisor.trace import values
from xenolith.hypervisor.trace.values import Show
from xenolith.machine.address import GuestVirt

Registers = tuple[int, ...]
"""The five argument registers of a hypercall."""

Finish = Callable[[bool], str]
"""Gives an argument's text after the call; it is told whether there are answers to show."""


class Look(NamedTuple):
    """From where a call is looked at."""

    access: GuestAccess
    now: int
    """The system time (ns) at which it is made."""


class Argument(Protocol):
    """One argument of a hypercall."""

    def read(self, look: Look, registers: Registers) -> Finish:
        """Copy what the guest passes in. Nothing that the guest wrote there raises."""


def constant(text: str) -> Finish:
    """The text of an argument to which the call adds nothing."""
    return lambda _answered: text


def fault(address: int) -> str:
    """A pointer behind which there is nothing to read."""
    return f"{address:#x}<EFAULT>"


class Value:
    """A register that is no pointer."""

    def __init__(self, index: int, show: Show) -> None:
        self._index = index
        self._show = show

    def read(self, look: Look, registers: Registers) -> Finish:
        """See Argument."""
        return constant(self._show(registers[self._index]))


class SystemTime:
    """A register that holds a system time in ns; of a 32-bit guest two, the lower half first."""

    def __init__(self, index: int) -> None:
        self._index = index

    def read(self, look: Look, registers: Registers) -> Finish:
        """See Argument."""
        time = registers[self._index]
        if look.access.word != LONG_WORD:
            time |= registers[self._index + 1] << 32
        return constant(values.moment(time, look.now))


class TextIn:
    """A pointer to a text, whose length is in another register."""

    def __init__(self, pointer: int, length: int) -> None:
        self._pointer = pointer
        self._length = length

    def read(self, look: Look, registers: Registers) -> Finish:
        """See Argument."""
        address, size = registers[self._pointer], registers[self._length] & 0xFFFFFFFF
        try:
            data = look.access.copy_from(GuestVirt(address), min(size, values.TEXT_BYTES))
        except XenError:
            return constant(fault(address))
        return constant(values.text(data, size))


class TextOut:
    """A pointer to a buffer of ``size`` bytes in which the hypervisor answers with a C string."""

    def __init__(self, pointer: int, size: int) -> None:
        self._pointer = pointer
        self._size = min(size, values.TEXT_BYTES)

    def read(self, look: Look, registers: Registers) -> Finish:
        """See Argument."""
        address = registers[self._pointer]

        def finish(answered: bool) -> str:
            if not answered:
                return f"{address:#x}"
            try:
                return values.c_string(look.access.copy_from(GuestVirt(address), self._size))
            except XenError:
                return fault(address)

        return finish


class Reading(NamedTuple):
    """A call that is under way."""

    finish: Finish
    result: Show
    """How its result looks when it is no error."""


class Signature(Protocol):
    """How a hypercall's registers are read."""

    def read(self, look: Look, registers: Registers) -> Reading:
        """Copy what the guest passes in. Nothing that the guest wrote there raises."""


class Call:
    """A hypercall without commands, or one command of another: its arguments and its result."""

    def __init__(self, *arguments: Argument, result: Show = values.number) -> None:
        self._arguments = arguments
        self._result = result

    def read(self, look: Look, registers: Registers, command: str | None = None) -> Reading:
        """See Signature; ``command`` is shown before the arguments."""
        finishes = [argument.read(look, registers) for argument in self._arguments]
        shown = [] if command is None else [command]
        return Reading(
            lambda answered: ", ".join([*shown, *(finish(answered) for finish in finishes)]),
            self._result,
        )


RAW = Call(*(Value(index, hex) for index in range(5)))
"""A hypercall of which nothing is known."""

_POINTER = Call(Value(1, hex))


def _first_register(registers: Registers) -> tuple[int, str]:
    return registers[0], ""


class Commands:
    """A hypercall whose first argument says what it is to do.

    ``calls`` has those members of ``enum`` whose arguments are known; of the others, and of unknown commands, the
    second register is shown as it is. ``split`` finds in the registers the command and what is shown behind its
    name.
    """

    def __init__(
        self,
        enum: type[IntEnum],
        calls: Mapping[int, Call],
        split: Callable[[Registers], tuple[int, str]] = _first_register,
    ) -> None:
        self._names = values.names(enum)
        self._calls = calls
        self._split = split

    def read(self, look: Look, registers: Registers) -> Reading:
        """See Signature."""
        command, more = self._split(registers)
        name = self._names.get(command) or values.number(command)
        return self._calls.get(command, _POINTER).read(look, registers, name + more)
