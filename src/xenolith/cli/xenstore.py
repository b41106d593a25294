"""xenstore-{read,write,rm,exists,list,ls,chmod,watch}, or xenstore with one of these as argument.

Options and exit status are those of Xen's xenstore-utils (docs/man/xenstore.1.pod).
"""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import NamedTuple

from xenolith.abi.errno import Errno
from xenolith.cli import standard_streams
from xenolith.machine.run_dir import xenstored_socket
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.tools import commands
from xenolith.xenstore.tools.client import Client
from xenolith.xenstore.tools.commands import Call, CommandError

_LONG_OPTIONS = {
    "f": "flat",
    "p": "prefix",
    "t": "tidy",
    "u": "upto",
    "r": "recurse",
    "n": "number=",
    "R": "raw",
    "d": "depth=",
}
_NUMBERS = "nd"
_NEVER = sys.maxsize


class _Command(NamedTuple):
    """What a command does, its options, and from how many arguments on it is a transaction."""

    run: Callable[[Call], None]
    options: str
    usage: str
    atomic_from: int = 1


_COMMANDS = {
    "read": _Command(commands.read, "pR", "[-p] [-R] key [...]", 2),
    "write": _Command(commands.write, "R", "[-R] key value [...]", 3),
    "rm": _Command(commands.rm, "t", "[-t] key [...]"),
    "exists": _Command(commands.exists, "", "key [...]"),
    "list": _Command(commands.list_, "p", "[-p] key [...]"),
    "ls": _Command(commands.ls, "fp", "[-f] [-p] [path]", _NEVER),
    "chmod": _Command(commands.chmod, "ur", "[-u] [-r] key <mode [modes...]>"),
    "watch": _Command(commands.watch, "nd", "[-n NR] [-d DEPTH] key [...]", _NEVER),
}


def main(argv: Sequence[str] | None = None, socket_path: str | None = None) -> int:
    """Run the command of ``argv`` (default: sys.argv) and return its exit status.

    The server's socket is ``socket_path``, else that of machine.run_dir.
    """
    standard_streams.open_closed()
    program, *arguments = sys.argv if argv is None else argv
    name = os.path.basename(program)
    try:
        if name.startswith("xenstore-"):
            verb = name.removeprefix("xenstore-")
        elif arguments:
            verb = arguments.pop(0)
            program = f"{name} {verb}"
        else:
            raise CommandError(f"Usage: {name} <mode> [-h] [...]")
        if verb not in _COMMANDS:
            raise CommandError(f"unknown mode {verb}")
        _run(_COMMANDS[verb], os.path.basename(program), arguments, socket_path)
        _StandardOutput().flush()
    except CommandError as error:
        if error.args:
            print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(command: _Command, shown: str, arguments: list[str], socket_path: str | None) -> None:
    usage = f"Usage: {shown} [-h] {command.usage}"
    options, rest = _parse(command, arguments, usage)
    if "h" in options:
        _StandardOutput().write(os.fsencode(f"{usage}\n"))
        return
    if not rest and command.run is not commands.ls:
        raise CommandError(usage)
    if command.run is commands.write and len(rest) % 2:
        raise CommandError(usage)
    try:
        client = Client.connect(socket_path or xenstored_socket())
    except OSError as error:
        raise CommandError(f"xs_open: {error.strerror or error}") from None
    try:
        _execute(client, command, options, rest)
    except OSError as error:
        raise CommandError(f"the connection to xenstored is lost: {error}") from None
    finally:
        client.close()


def _parse(command: _Command, arguments: list[str], usage: str) -> tuple[dict[str, str], list[str]]:
    """Options by letter, and the other arguments; -s, a relic, is accepted and ignored."""
    letters = "".join(f"{letter}:" if letter in _NUMBERS else letter for letter in command.options)
    names = {letter: _LONG_OPTIONS[letter] for letter in command.options}
    try:
        found, rest = getopt.gnu_getopt(arguments, f"hs{letters}", ["help", *names.values()])
    except getopt.GetoptError as error:
        raise CommandError(f"{error}\n{usage}") from None
    shorter = {f"--{name.rstrip('=')}": letter for letter, name in names.items()}
    options = {shorter.get(option, option.lstrip("-")[0]): value for option, value in found}
    for letter in _NUMBERS:
        if not options.get(letter, "0").isdigit():
            raise CommandError(f"not a number: {options[letter]}")
    return options, rest


class _StandardOutput:
    """Standard output, whose failures are told from those of the connection."""

    def write(self, data: bytes) -> None:
        """Write; CommandError if that cannot be."""
        self._attempt(lambda: sys.stdout.buffer.write(data))

    def flush(self) -> None:
        """Write what is left; CommandError if that cannot be."""
        self._attempt(sys.stdout.flush)

    def _attempt(self, writing: Callable[[], object]) -> None:
        try:
            writing()
        except OSError as error:
            standard_streams.give_up_output()
            if isinstance(error, BrokenPipeError):
                # Whoever read our output has had enough, and knows it.
                raise CommandError from None
            raise CommandError(f"the output cannot be written: {error.strerror}") from None


def _execute(
    client: Client, command: _Command, options: dict[str, str], arguments: list[str]
) -> None:
    """Run a command; again and again if others interfere with its transaction."""
    if len(arguments) < command.atomic_from:
        command.run(Call(client, 0, options, arguments, _StandardOutput(), _width()))
        return
    done = False
    while not done:
        output = BytesIO()
        transaction = client.start_transaction()
        try:
            command.run(Call(client, transaction, options, arguments, output, _width()))
            done = _commit(client, transaction)
        except CommandError:
            done = True
            raise
        finally:
            if done:
                _StandardOutput().write(output.getvalue())


def _commit(client: Client, transaction: int) -> bool:
    """Whether the transaction is committed and need not be repeated."""
    try:
        client.commit(transaction)
    except XenstoreError as error:
        if error.errno != Errno.EAGAIN:
            raise CommandError(f"couldn't end transaction: {error}") from None
        return False
    return True


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns - 2
    except OSError:
        return 80


if __name__ == "__main__":
    sys.exit(main())
