"""Reads the configuration of a domain from a file, standard input and the command line.

Kernel and ramdisk are looked for in the current directory, as by xl, and then beside the file.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from xenolith.toolstack.config.domain_config import DomainConfig
from xenolith.toolstack.config.errors import ConfigError, Position, Problem
from xenolith.toolstack.config.interpret import interpret
from xenolith.toolstack.config.parser import Setting, combine, parse

STANDARD_INPUT = "-"
COMMAND_LINE = "command line"

MAX_SIZE = 1 << 20
"""Bytes of a configuration; what is longer is some other file, given by mistake."""


class Loaded(NamedTuple):
    """A configuration, and what its author should know about it."""

    config: DomainConfig
    warnings: tuple[Problem, ...]


def load(path: str, overrides: Sequence[str] = ()) -> Loaded:
    """The domain that the file ``path`` ("-": standard input) and the overrides describe.

    Each override is xl.cfg(5) text that follows the file. ConfigError says all that is wrong.
    """
    source = "<stdin>" if path == STANDARD_INPUT else path
    return _load(_read(path, source), source, overrides, os.path.dirname(os.path.abspath(path)))


def loads(text: str, source: str = "<string>", overrides: Sequence[str] = ()) -> Loaded:
    """The same from text; ``source`` is what errors call it."""
    return _load(text, source, overrides, os.getcwd())


def _load(text: str, source: str, overrides: Sequence[str], directory: str) -> Loaded:
    assignments: list[Setting] = []
    problems: list[Problem] = []
    # An override stands on line 0, which positions do not show.
    parts = [(text, source, 1), *((override, COMMAND_LINE, 0) for override in overrides)]
    for part, name, first_line in parts:
        try:
            assignments += parse(part, name, first_line)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    settings = combine(assignments)
    config, warnings = interpret(settings, source)
    return Loaded(_with_files_found(config, settings, directory), warnings)


def _read(path: str, source: str) -> str:
    try:
        if path == STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_SIZE + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_SIZE + 1)
    except OSError as error:
        why = f"the configuration cannot be read: {error.strerror}"
        raise ConfigError([Problem(Position(source, 0, 0), why)]) from None
    if len(data) > MAX_SIZE:
        why = f"this is no configuration, it is longer than {MAX_SIZE} bytes"
        raise ConfigError([Problem(Position(source, 0, 0), why)])
    return data.decode("utf-8-sig", "surrogateescape")


def _with_files_found(
    config: DomainConfig, settings: dict[str, Setting], directory: str
) -> DomainConfig:
    problems: list[Problem] = []
    found: dict[str, str] = {}
    for key, name in (("kernel", config.kernel), ("ramdisk", config.ramdisk)):
        if name is None:
            continue
        candidates = [os.path.abspath(name), os.path.join(directory, name)]
        for candidate in candidates:
            if os.path.isfile(candidate):
                found[key] = candidate
                break
        else:
            text = f"key '{key}': there is no file {candidates[0]!a}"
            if candidates[1] != candidates[0]:
                text += f" nor {candidates[1]!a}"
            problems.append(Problem(settings[key].position, text))
    if problems:
        raise ConfigError(problems)
    return dataclasses.replace(config, kernel=found.get("kernel"), ramdisk=found.get("ramdisk"))
