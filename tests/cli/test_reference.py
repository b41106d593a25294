"""docs/reference agrees with the code: every verb, every option, every key in its section."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xenolith.cli import verbs
from xenolith.toolstack.config import Action
from xenolith.toolstack.config.domain_config import MAX_VCPUS, MIN_MEMORY
from xenolith.toolstack.config.keys import KEYS, Effect

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def sections(page: str, level: int) -> dict[str, str]:
    """The text under each heading of this level, up to the next of this level or above."""
    text = (REFERENCE / page).read_text()
    found = re.split(rf"^(#{{1,{level}}}) (.*)$", text, flags=re.MULTILINE)
    headings = zip(found[1::3], found[2::3], found[3::3], strict=True)
    return {title: body for marks, title, body in headings if len(marks) == level}


def test_every_verb_has_its_section() -> None:
    assert set(sections("xl.md", 3)) == set(verbs.VERBS)


@pytest.mark.parametrize("name", verbs.VERBS)
def test_a_verb_is_documented_with_its_options(name: str) -> None:
    verb = verbs.load(name)
    body = sections("xl.md", 3)[name]
    assert f"`xl {name} {verb.SYNOPSIS}".rstrip() + "`" in body
    options = [f"-{letter}" for letter in verb.SHORT.replace(":", "")]
    for option in [*options, *(f"--{long}" for long in verb.LONG)]:
        assert re.search(rf"`{option}[ =`]", body), f"{option} is not documented"


def keys_in(section: str) -> set[str]:
    """The keys that a section names: the first column of its tables of keys, and its lists."""
    body = re.sub(r"^### .*", "", sections("xl.cfg.md", 2)[section], flags=re.MULTILINE | re.DOTALL)
    body = body.partition("\nActions:")[0]
    columns = re.findall(r"^\| (`[^|]*) \|", body, flags=re.MULTILINE)
    lists = [line for line in body.splitlines() if line.startswith("`")]
    return set(re.findall(r"`(\w+)`", "\n".join(columns + lists)))


@pytest.mark.parametrize(
    ("effect", "section"),
    [
        (Effect.HONOURED, "Keys that take effect"),
        (Effect.PENDING, "Keys without effect yet"),
        (Effect.OBSOLETE, "Keys of xm that are ignored"),
    ],
)
def test_keys_are_documented_where_they_belong(effect: Effect, section: str) -> None:
    assert keys_in(section) == {key for key, actual in KEYS.items() if actual is effect}


def test_ranges_and_actions_are_those_of_the_code() -> None:
    body = sections("xl.cfg.md", 2)["Keys that take effect"]
    assert f"| `memory` | MiB, from {MIN_MEMORY} | `maxmem`, else {MIN_MEMORY} |" in body
    assert f"| `vcpus` | 1 to {MAX_VCPUS} |" in body
    for action in Action:
        assert f"| `{action}` |" in body
