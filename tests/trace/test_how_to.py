"""docs/how-to/strace.md shows lines as they are, and options that exist."""

from __future__ import annotations

import re
from pathlib import Path

from xenolith.cli.command import ONE, parse_options
from xenolith.cli.verbs import strace
from xenolith.hypervisor.trace import line
from xenolith.hypervisor.trace.filter import Filter

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "strace.md").read_text()


def test_its_lines_are_lines_of_a_trace() -> None:
    shown = re.findall(r"^ +\d+\.\d{6} .*", PAGE, flags=re.MULTILINE)
    assert len(shown) > 10
    for text in shown:
        traced = line.parse(text)
        assert traced is not None
        assert str(traced) == text
        assert line.parse_call(traced.what) or line.parse_event(traced.what)


def test_its_commands_make_sense() -> None:
    commands = re.findall(r"^\$ xl strace (.*?)(?: &)?$", PAGE, flags=re.MULTILINE)
    assert len(commands) > 4
    for command in commands:
        words = [word.strip("'") for word in command.split()]
        options = parse_options(words, strace.SHORT, strace.LONG, ONE)
        if "e" in options:
            Filter(options.given["e"])
