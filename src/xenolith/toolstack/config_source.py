"""Reads the text of a domain's configuration, from a file or standard input, for whoever interprets it.

It stands apart from the package config, which takes longer to import than `xl create` may take: that
sends what it reads here to the daemon.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

STANDARD_INPUT = "-"

COMMAND_LINE = "command line"
"""What errors call settings that are no file's."""

MAX_SIZE = 1 << 17
"""Bytes of a configuration; what is longer is some other file, given by mistake.

However it is escaped, it fits into one message of toolstack.rpc."""


class SourceError(Exception):
    """A configuration cannot be read; the message is one line that names it."""


class ConfigSource(NamedTuple):
    """All that a configuration's meaning depends on."""

    text: str
    name: str
    """What errors call the text."""
    overrides: tuple[str, ...]
    """xl.cfg(5) text that follows it, one from each argument."""
    directories: tuple[str, ...]
    """Where the files are that it names by relative paths: the first that has them."""


class ConfigAnswer(NamedTuple):
    """What a configuration turned out to mean."""

    config: dict[str, Any] | None
    """The checked configuration in JSON types; None if the text describes no domain."""
    messages: list[str]
    """A line for each error, or else for each thing that its author should know."""


def read_source(path: str, overrides: Sequence[str] = ()) -> ConfigSource:
    """Read the file ``path`` ("-": standard input); SourceError.

    Files are looked for in the current directory, as by xl, and then beside the configuration.
    """
    name = "<stdin>" if path == STANDARD_INPUT else path
    directories = (os.getcwd(), os.path.dirname(os.path.abspath(path)))
    return ConfigSource(_read(path, name), name, tuple(overrides), directories)


def _read(path: str, name: str) -> str:
    try:
        if path == STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_SIZE + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_SIZE + 1)
    except OSError as error:
        why = f"the configuration cannot be read: {error.strerror}"
        raise SourceError(f"{name}: {why}") from None
    if len(data) > MAX_SIZE:
        why = f"this is no configuration, it is longer than {MAX_SIZE} bytes"
        raise SourceError(f"{name}: {why}")
    return data.decode("utf-8-sig", "surrogateescape")
