"""What all verbs of xl(1) share: their shape, their options, and how they fail.

Exit statuses are xl's: 1 for what failed, 2 for a command line that makes no sense.
"""

from __future__ import annotations

import getopt
from collections.abc import Mapping, Sequence
from typing import Protocol, final


class Verb(Protocol):
    """The module of one verb."""

    NAME: str
    SYNOPSIS: str
    """The operands and options, as after ``xl NAME``."""
    HELP: str
    """The first line says what the verb does; the others explain its options."""
    SHORT: str
    """Its options of one letter, in the notation of getopt(3)."""
    LONG: Mapping[str, str]
    """The letter that each long option stands for, which need not be in SHORT."""

    def run(self, arguments: list[str]) -> int:
        """Do it; return the exit status."""


class CommandError(Exception):
    """The command failed; the message is one sentence without full stop. Exit status 1."""


class UsageError(Exception):
    """The command line makes no sense; the message says why. Exit status 2."""


class HelpRequested(Exception):  # noqa: N818 - it is no error
    """``-h`` or ``--help`` was among the options."""


class Interrupted(BaseException):
    """A signal wants the command to end, and it has tidied up."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"ended by signal {signum}")
        self.exit_status = 128 + signum


@final
class Options:
    """A command line taken apart; ``"x" in options`` says whether option x was given."""

    def __init__(self, given: Mapping[str, str], operands: list[str]) -> None:
        self.given = given
        """Options by letter; the value is "" for those that take none."""
        self.operands = operands

    def __contains__(self, letter: str) -> bool:
        return letter in self.given


NONE = range(1)
ONE = range(1, 2)
TWO = range(2, 3)
AT_MOST_ONE = range(2)
ANY_NUMBER = range(1 << 30)
AT_LEAST_ONE = range(1, 1 << 30)


def parse_options(
    arguments: list[str],
    short: str,
    long: Mapping[str, str],
    operands: range,
) -> Options:
    """Split the arguments of a verb, whose options may stand anywhere.

    ``short`` and ``long`` are the verb's SHORT and LONG; ``operands`` is how many it can take.
    """
    names = [f"{name}=" if f"{letter}:" in short else name for name, letter in long.items()]
    try:
        found, rest = getopt.gnu_getopt(arguments, f"h{short}", ["help", *names])
    except getopt.GetoptError as error:
        raise UsageError(error.msg) from None
    letters = {f"--{name}": letter for name, letter in long.items()}
    given: dict[str, str] = {}
    for option, value in found:
        if option in ("-h", "--help"):
            raise HelpRequested
        given[letters.get(option, option[1:])] = value
    if len(rest) < operands.start:
        plural = "s" if operands.start > 1 else ""
        raise UsageError(f"at least {operands.start} argument{plural} needed")
    if len(rest) not in operands:
        raise UsageError(f"unexpected argument '{rest[operands[-1]]}'")
    return Options(given, rest)


def split_settings(operands: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate file names from ``key=value`` settings, by the equals sign as xl does."""
    files = [operand for operand in operands if "=" not in operand]
    return files, [operand for operand in operands if "=" in operand]
