"""GRUB 2's commands that change nothing but the running script: variables, arguments, jumps.

Those that only change how a screen looks, or load GRUB's own modules, succeed and do nothing.
"""

from __future__ import annotations

import re

from xenolith.bootloader.grub.interpreter import SUCCESS, Builtin, Interpreter
from xenolith.bootloader.grub.parser import parse_script
from xenolith.bootloader.grub.syntax import Command

_DEVICE = re.compile(r"\(([^)]*)\)")

_WITHOUT_EFFECT = """
    insmod echo terminal_input terminal_output terminfo serial background_color background_image
    export save_env rmmod clear true sleep play gfxmode set_background_image cpuid authenticate
    password password_pbkdf2 boot loadfont clear normal_exit
"""


def _succeed(_shell: Interpreter, _words: list[str], _command: Command) -> int:
    return SUCCESS


def _set(shell: Interpreter, words: list[str], _command: Command) -> int:
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            shell.set(name, _DEVICE.sub(r"\1", value) if name == "root" else value)
    return SUCCESS


def _unset(shell: Interpreter, words: list[str], _command: Command) -> int:
    for word in words:
        shell.variables.pop(word, None)
    return SUCCESS


def _increment(shell: Interpreter, words: list[str], _command: Command) -> int:
    return _add(shell, words, 1)


def _decrement(shell: Interpreter, words: list[str], _command: Command) -> int:
    return _add(shell, words, -1)


def _add(shell: Interpreter, words: list[str], step: int) -> int:
    for word in words[:1]:
        text = shell.variables.get(word, "")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
        shell.set(word, str(number + step))
    return SUCCESS


def _eval(shell: Interpreter, words: list[str], command: Command) -> int:
    return shell.run_nested(parse_script(" ".join(words), "eval"), command.line)


def _shift(shell: Interpreter, words: list[str], _command: Command) -> int:
    shell.arguments = shell.arguments[_count(words) :]
    return SUCCESS


def _setparams(shell: Interpreter, words: list[str], _command: Command) -> int:
    shell.arguments = words
    return SUCCESS


def _break(shell: Interpreter, words: list[str], _command: Command) -> int:
    shell.stop_loop(_count(words), again=False)
    return SUCCESS


def _continue(shell: Interpreter, words: list[str], _command: Command) -> int:
    shell.stop_loop(_count(words), again=True)
    return SUCCESS


def _return(shell: Interpreter, words: list[str], _command: Command) -> int:
    shell.return_from(_count(words) if words else SUCCESS)
    return SUCCESS


def _count(words: list[str]) -> int:
    text = words[0] if words else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 1


SHELL_COMMANDS: dict[str, Builtin] = {
    **dict.fromkeys(_WITHOUT_EFFECT.split(), _succeed),
    "set": _set,
    "unset": _unset,
    "increment": _increment,
    "decrement": _decrement,
    "eval": _eval,
    "shift": _shift,
    "setparams": _setparams,
    "break": _break,
    "continue": _continue,
    "return": _return,
}
"""By name."""
