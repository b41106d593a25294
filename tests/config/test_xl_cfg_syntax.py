"""The syntax of xl.cfg: what libxlu's grammar accepts, positions, and every mistake at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.toolstack.config.errors import ConfigError, Position
from xenolith.toolstack.config.lexer import unquote
from xenolith.toolstack.config.parser import Atom, ListValue, Setting, Value, combine, parse

Tree = str | list["Tree"]


def tree(value: Value) -> Tree:
    if isinstance(value, Atom):
        return value.text
    return [tree(item) for item in value.items]


def values(text: str) -> dict[str, Tree]:
    settings = combine(parse(text, "f"))
    return {key: tree(setting.value) for key, setting in settings.items()}


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        combine(parse(text, "f"))
    return str(caught.value).split("\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("\n\n;;\n", {}),
        ("# only a comment", {}),
        ("a=1", {"a": "1"}),
        ("a = 'x' # comment\nb=\"y\"", {"a": "x", "b": "y"}),
        ("a=1;b=2;\n;c=3", {"a": "1", "b": "2", "c": "3"}),
        ("a=1\r\nb=2\r\n", {"a": "1", "b": "2"}),
        ("a=0x1f", {"a": "0x1f"}),
        ("a=-3600", {"a": "-3600"}),
        ("a='one \"two\"'", {"a": 'one "two"'}),
        ("a='#;[=,'", {"a": "#;[=,"}),
        ("a=[]", {"a": []}),
        ("a=[1,]", {"a": ["1"]}),
        ("a=['x', \"y\", 3]", {"a": ["x", "y", "3"]}),
        ("a=[\n# comment\n'x'\n,\n\n'y',\n]\nb=1", {"a": ["x", "y"], "b": "1"}),
        ("a=[[1, ['x']], []]", {"a": [["1", ["x"]], []]}),
        ("a = \\\n 1", {"a": "1"}),
        ("vif.default.bridge='br0'", {"vif.default.bridge": "br0"}),
        ("a=1\na=2", {"a": "2"}),
        ("a='x'\na+='y'", {"a": "xy"}),
        ("a+='y'", {"a": "y"}),
        ("a=[1]\na+=[2]\na+=[3]", {"a": ["1", "2", "3"]}),
    ],
)
def test_accepts(text: str, expected: dict[str, Tree]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r"'\\'", "\\"),
        (r"'\''", "'"),
        (r'"\""', '"'),
        (r"'\a\b\f\n\r\t\v'", "\a\b\f\n\r\t\v"),
        (r"'\x41\x4a'", "AJ"),
        (r"'\101\60'", "A0"),
        (r"'\xc3\xa9'", "é"),
        ("'é'", "é"),
        (r"'\xff'", "\udcff"),
    ],
)
def test_escapes(written: str, value: str) -> None:
    assert unquote(written) == value


def test_every_value_has_its_position() -> None:
    (first, second) = parse("a = 'x'\n  bc = [ 1,\n   2 ]", "f.cfg")
    assert (first.position, first.value.position) == (
        Position("f.cfg", 1, 1),
        Position("f.cfg", 1, 5),
    )
    assert second.position == Position("f.cfg", 2, 3)
    assert isinstance(second.value, ListValue)
    assert second.value.position == Position("f.cfg", 2, 8)
    assert [item.position for item in second.value.items] == [
        Position("f.cfg", 2, 10),
        Position("f.cfg", 3, 4),
    ]


def test_appending_takes_the_last_place() -> None:
    (setting,) = combine(parse("a='x'\n\na+='y'", "f")).values()
    assert setting == Setting(
        "a", Atom("xy", Position("f", 3, 4)), Position("f", 3, 1), appended=True
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", "f:1: expected '=' after 'a', not the end of the configuration"),
        ("= 3", "f:1: expected a key, not '='"),
        ("a = \n", "f:1: expected a string, a number or a list, not the end of the line"),
        ("a = foo", "f:1: expected a value (a string needs quotes: \"foo\"), not 'foo'"),
        ("a = 'x' 'y'", "f:1: expected the end of the line after the value of 'a', not 'y'"),
        ("a = 'x", "f:1: the string is not closed on its line"),
        ("a = 'x\\\ny'", "f:1: the string is not closed on its line"),
        (r"a = '\q'", r"f:1: a string cannot have the escape \q"),
        (r"a = '\777'", r"f:1: the escape \777 is more than a byte"),
        (r"a = '\0'", "f:1: a string cannot have a zero byte"),
        ("\n\na = [ 1 2 ]", "f:3: expected ',' or ']' in the list that line 3 opens, not '2'"),
        ("a = [,]", "f:1: expected a string, a number or a list, not ','"),
        ("a = [ 1,\nb = 2", "f:2: expected ']' of the list that line 1 opens, not 'b'"),
        (
            "a = 'x' + 'y'",
            "f:1: unexpected '+': a configuration is not Python, values are not computed",
        ),
        ("a = $HOME", "f:1: unexpected '$'"),
        ("a = [1]\na += 'x'", "f:2: key 'a': += cannot join a list and a single value"),
    ],
)
def test_names_the_mistake(text: str, expected: str) -> None:
    assert mistakes(text) == [expected]


def test_reports_every_mistake_once() -> None:
    text = "a = [ 1 2\n 3 4 ]\nb = 'ok'\nc = foo\nd = 'open\ne = 5\n"
    assert [line.split(": ")[0] for line in mistakes(text)] == ["f:1", "f:4", "f:5"]


def test_deep_nesting_is_refused() -> None:
    (mistake,) = mistakes("a=" + "[" * 100_000)
    assert mistake.startswith("f:1: lists may not lie more than 32 deep")


def quote(text: str) -> str:
    return "'" + "".join(f"\\x{byte:02x}" for byte in text.encode()) + "'"


def write(value: Tree) -> str:
    if isinstance(value, str):
        return quote(value)
    return "[ " + ",\n ".join(write(item) for item in value) + " ]"


trees = st.recursive(
    st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_.]*", fullmatch=True), trees, max_size=5))
def test_what_is_written_is_read(config: dict[str, Tree]) -> None:
    text = "\n".join(f"{key} = {write(value)}" for key, value in config.items())
    assert values(text) == config


@given(st.text(alphabet="ab='\"[],;+#\\ \n0x\r\u00e9", max_size=60))
def test_any_text_parses_or_is_refused_with_positions(text: str) -> None:
    try:
        combine(parse(text, "f"))
    except ConfigError as error:
        assert error.problems
        lines = text.count("\n") + 1
        assert all(1 <= problem.position.line <= lines for problem in error.problems)
