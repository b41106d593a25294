"""Runs scripts of GRUB 2: variables, functions, flow control; what commands do is in commands.py.

The scripts come from a guest, so they have a limited number of steps, and values a limited length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from xenolith.bootloader.errors import BootError
from xenolith.bootloader.grub.syntax import (
    Chain,
    Command,
    For,
    Form,
    Function,
    If,
    Loop,
    Not,
    Script,
    ScriptError,
    Statement,
    Word,
)

_MOST_STEPS = 100_000
_LONGEST_VALUE = 1 << 16
_DEEPEST_CALL = 30

SUCCESS, FAILURE = 0, 1

Builtin = Callable[["Interpreter", list[str], Command], int]


class Budget:
    """The steps that all scripts of one boot may take together."""

    def __init__(self) -> None:
        self._left = _MOST_STEPS

    def spend(self, line: int) -> None:
        """Take one step; ScriptError if it is one too many."""
        self._left -= 1
        if self._left < 0:
            raise ScriptError(f"line {line}: the script takes more than {_MOST_STEPS} steps")


class Interpreter:
    """The state of a running script."""

    def __init__(self, commands: Mapping[str, Builtin], variables: dict[str, str]) -> None:
        self._commands = commands
        self.variables = variables
        self.arguments: list[str] = []
        """``$1``, ``$2``, ..."""
        self._functions: dict[str, Script] = {}
        self._status = SUCCESS
        self._depth = 0
        self._budget = Budget()

    def child(self, arguments: list[str], commands: Mapping[str, Builtin]) -> Interpreter:
        """One with other commands that begins with all that this one has, and does not change it."""
        child = Interpreter(commands, dict(self.variables))
        child.arguments = arguments
        child._functions = dict(self._functions)
        child._budget = self._budget
        return child

    def run(self, script: Script) -> int:
        """Run a script to its end; return the status of its last command. ScriptError."""
        with suppress(_Break, _Return):
            self._run(script)
        return self._status

    def run_nested(self, script: Script, line: int) -> int:
        """Run a script, as that of a function or another file, within this one."""
        if self._depth == _DEEPEST_CALL:
            raise ScriptError(f"line {line}: more than {_DEEPEST_CALL} calls within each other")
        self._depth += 1
        try:
            return self.run(script)
        finally:
            self._depth -= 1

    def set(self, name: str, value: str) -> None:
        """Set a variable; ScriptError if the value is too long."""
        if len(value) > _LONGEST_VALUE:
            raise ScriptError(f"the variable {name[:40]} gets longer than {_LONGEST_VALUE}")
        self.variables[name] = value

    def expand(self, words: Sequence[Word]) -> list[str]:
        """The strings that words stand for; ScriptError."""
        return [text for word in words for text in self._expand(word)]

    def stop_loop(self, count: int, *, again: bool) -> None:
        """Leave so many loops; with ``again`` the last goes on with its next turn."""
        raise _Break(max(1, count), again)

    def return_from(self, status: int) -> None:
        """Leave a function or a file."""
        self._status = status
        raise _Return

    def _run(self, script: Script) -> int:
        for statement in script:
            self._status = self._statement(statement)
        return self._status

    def _statement(self, statement: Statement) -> int:
        match statement:
            case Command():
                return self._command(statement)
            case Not(command):
                return FAILURE if self._statement(command) == SUCCESS else SUCCESS
            case Chain(first, rest):
                status = self._statement(first)
                for operator, following in rest:
                    if (status == SUCCESS) is (operator == "&&"):
                        status = self._statement(following)
                return status
            case If(branches, otherwise):
                for condition, body in branches:
                    if self._run(condition) == SUCCESS:
                        return self._body(body)
                return self._body(otherwise)
            case For(name, words, body):
                return self._for(name, self.expand(words), body)
            case Loop(condition, wanted, body):
                return self._loop(condition, wanted, body)
            case Function(name, body):
                self._functions[name] = body
                return SUCCESS

    def _body(self, script: Script) -> int:
        self._status = SUCCESS
        return self._run(script)

    def _for(self, name: str, values: list[str], body: Script) -> int:
        for value in values:
            self.set(name, value)
            if not self._turn(body):
                break
        return self._status

    def _loop(self, condition: Script, wanted: bool, body: Script) -> int:
        while (self._run(condition) == SUCCESS) is wanted and self._turn(body):
            self._budget.spend(0)
        return SUCCESS

    def _turn(self, body: Script) -> bool:
        """Run the body of a loop once; return whether the loop goes on."""
        try:
            self._body(body)
        except _Break as jump:
            if jump.count > 1:
                jump.count -= 1
                raise
            return jump.again
        return True

    def _command(self, command: Command) -> int:
        self._budget.spend(command.line)
        words = self.expand(command.words)
        if not words:
            return SUCCESS
        name, *arguments = words
        function = self._functions.get(name)
        if function is not None:
            return self._call(function, arguments, command.line)
        builtin = self._commands.get(name)
        if builtin is not None:
            return builtin(self, arguments, command)
        variable, equals, value = name.partition("=")
        if equals and variable:
            self.set(variable, value)
            return SUCCESS
        return FAILURE

    def _call(self, function: Script, arguments: list[str], line: int) -> int:
        outer, self.arguments = self.arguments, arguments
        try:
            return self.run_nested(function, line)
        finally:
            self.arguments = outer

    def _expand(self, word: Word) -> list[str]:
        """The strings that one word stands for: an unquoted variable may be none, or several."""
        done: list[str] = []
        current: str | None = None
        length = 0
        for form, text in word.pieces:
            value = text if form is Form.LITERAL else self._value(text)
            length += len(value)
            if length > _LONGEST_VALUE:
                raise ScriptError(f"line {word.line}: a word gets longer than {_LONGEST_VALUE}")
            if form is not Form.VARIABLE:
                current = (current or "") + value
                continue
            parts = value.split()
            if current is not None and value[:1].isspace():
                done.append(current)
                current = None
            if parts:
                done += [(current or "") + parts[0], *parts[1:]]
                current = None if value[-1:].isspace() else done.pop()
        return done if current is None else [*done, current]

    def _value(self, name: str) -> str:
        if name.isdigit():
            number = int(name) if len(name) < 9 else 0
            return self.arguments[number - 1] if 0 < number <= len(self.arguments) else ""
        match name:
            case "@" | "*":
                return " ".join(self.arguments)
            case "#":
                return str(len(self.arguments))
            case "?":
                return str(self._status)
            case _:
                return self.variables.get(name, "")


class _Break(BootError):  # noqa: N818 - it is no error
    """Leaves loops."""

    def __init__(self, count: int, again: bool) -> None:
        super().__init__("a loop is left outside of any")
        self.count = count
        self.again = again


class _Return(BootError):  # noqa: N818 - it is no error
    """Leaves a function."""

    def __init__(self) -> None:
        super().__init__("a function is left outside of any")
