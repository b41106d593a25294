"""The text in which LVM2 describes a volume group: sections, numbers, strings and lists (vgcfgbackup(8)).

It comes out of a guest's disk and may say anything.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from xenolith.bootloader.errors import BootError

Value = int | str | list["int | str"]

_TOKEN = re.compile(
    r"""(?:\s|\#[^\n]*+)*+
    (?: (?P<name>[A-Za-z0-9_.+-]+(?=\s*[={])) | (?P<number>-?\d+(?:\.\d+)?)
      | "(?P<string>(?:[^"\\]|\\.)*)" | (?P<sign>[={}\[\],]) | (?P<end>\Z) )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_DEEPEST = 8


class Section(NamedTuple):
    """What is in braces."""

    values: dict[str, Value]
    sections: dict[str, Section]

    def number(self, name: str) -> int:
        """A value that has to be a number from 0 on; BootError."""
        value = self.values.get(name)
        if not isinstance(value, int) or value < 0:
            raise BootError(f"LVM's description has no {name}")
        return value

    def text(self, name: str) -> str:
        """A value that has to be a string; BootError."""
        value = self.values.get(name)
        if not isinstance(value, str):
            raise BootError(f"LVM's description has no {name}")
        return value

    def inner(self, name: str) -> dict[str, Section]:
        """The sections of a section, if there is one."""
        section = self.sections.get(name)
        return section.sections if section is not None else {}


def parse(text: str) -> Section:
    """The outermost section; BootError where that makes no sense."""
    reader = _Reader(text)
    section = reader.section(0)
    if reader.kind != "end":
        raise BootError("LVM's description of its volumes makes no sense")
    return section


class _Reader:
    """One token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.kind = ""
        self._content = ""
        self._step()

    def section(self, depth: int) -> Section:
        section = Section({}, {})
        while self.kind == "name" and depth <= _DEEPEST:
            name = self._take("name")
            if self._content == "{":
                self._step()
                section.sections[name] = self.section(depth + 1)
                self._expect("}")
            else:
                self._expect("=")
                section.values[name] = self._value()
        return section

    def _value(self) -> Value:
        if self.kind != "sign":
            return self._plain()
        self._expect("[")
        items: list[int | str] = []
        while self._content != "]" or self.kind != "sign":
            items.append(self._plain())
            if self.kind == "sign" and self._content == ",":
                self._step()
        self._step()
        return items

    def _plain(self) -> int | str:
        if self.kind == "number":
            # None of the fractions that there may be matters.
            return int(self._take("number").partition(".")[0][:18])
        return _ESCAPE.sub(r"\1", self._take("string"))

    def _take(self, kind: str) -> str:
        content = self._content
        if self.kind != kind:
            raise BootError(f"LVM's description makes no sense at '{content[:20]}'")
        self._step()
        return content

    def _expect(self, sign: str) -> None:
        if self.kind != "sign" or self._content != sign:
            raise BootError(f"LVM's description has no '{sign}' at '{self._content[:20]}'")
        self._step()

    def _step(self) -> None:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            raise BootError("LVM's description of its volumes makes no sense")
        self._at = match.end()
        self.kind = match.lastgroup or "end"
        self._content = match[self.kind]
