"""GRUB 2's script language, and that no text makes it crash or run without end."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.bootloader.errors import BootError
from xenolith.bootloader.grub.config import script_menu
from xenolith.bootloader.grub.environment_block import parse_environment_block
from xenolith.bootloader.grub.parser import parse_script
from xenolith.bootloader.grub.syntax import ScriptError
from xenolith.bootloader.menu import Menu
from xenolith.bootloader.volumes import FileRef

from .memory import volume, volumes

FILES = {"/boot/more": "set x=sourced", "/boot/file": "abc", "/boot/empty": "", "/boot/dir/x": "x"}


def menu_of(script: str, **files: str) -> Menu:
    here = volume({**FILES, **files}, uuid="1234-abcd", label="root")
    return script_menu(script, FileRef(here, "/boot/grub/grub.cfg"), volumes(here))


def arguments(script: str) -> str:
    """What the one entry of a script has as its kernel's command line."""
    entry = menu_of(script).entries[0]
    assert entry.load is not None
    return entry.load().arguments


def value(script: str, name: str = "x") -> str:
    """What a variable is after a script."""
    return arguments(f'{script}\nmenuentry t {{ linux /k "${{{name}}}"; }}')


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("set x=plain", "plain"),
        ("x=without-set", "without-set"),
        ("set x='single $y \\n'", "single $y \\n"),
        ('set y=1; set x="double $y ${y}2 \\$y \\" \\a"', 'double 1 12 $y " \\a'),
        ("set x=a\\ b\\'c", "a b'c"),
        ("set x=a\"b\"'c'd", "abcd"),
        ("set x=1 # set x=2", "1"),
        ("set x=a#b", "a#b"),
        ("set x=1; set x=2", "2"),
        ("set x=\\\nlong", "long"),
        ("set y='a  b'; for i in $y; do x=$x.$i; done", ".a.b"),
        ('set y=\'a  b\'; for i in "$y"; do x="$x.$i"; done', ".a  b"),
        ("set y=' b '; for i in a$y; do x=$x.$i; done", ".a.b"),
        ("set y=; for i in a $y b; do x=$x.$i; done", ".a.b"),
        ('set y=; for i in a "$y" b; do x=$x.$i; done', ".a..b"),
        ("if true; then x=1; else x=2; fi", "1"),
        ("if false; then x=1; elif true; then x=2; else x=3; fi", "2"),
        ("if ! true\nthen\nx=1\nelse\nx=2\nfi", "2"),
        ("if unknown-command; then x=1; else x=2; fi", "2"),
        ("true && x=1; false && x=2", "1"),
        ("false || x=1; true || x=2", "1"),
        ("function f { x=$1$2; }; f a b", "ab"),
        ("function f { x=$#; return 1; x=no; }; if f a b c; then x=no; fi", "3"),
        ('function f { shift; x="$@"; }; f a b c', "b c"),
        ("for i in 1 2 3; do if [ $i = 2 ]; then continue; fi; x=$x$i; done", "13"),
        ("for i in 1 2 3; do if [ $i = 2 ]; then break; fi; x=$x$i; done", "1"),
        ("for i in 1 2; do for j in 1 2; do x=$x$i$j; break 2; done; done", "11"),
        ("i=3; while [ $i -gt 0 ]; do x=$x$i; decrement i; done", "321"),
        ("i=0; until [ $i = 2 ]; do increment i; x=$x$i; done", "12"),
        ("false; x=$?", "1"),
        ("set x=a; unset x", ""),
        ("source /boot/more", "sourced"),
        ("eval 'set x=\"a b\"'", "a b"),
        ("search --set=x --fs-uuid 1234-ABCD", "hd0,gpt2"),
        ("search -n -l root -s x; true", ""),
        ("search --no-floppy --file --set=x /boot/file", "hd0,gpt2"),
        ("x=old; search --set=x --label other", "old"),
        ("probe --set=x -u ($root)", "1234-abcd"),
        ("probe --set x --label ($root)", "root"),
        ("set x=($root); set root=(hd0,gpt2); set x=$root", "hd0,gpt2"),
        ("x=$grub_platform", "xen"),
        ("x=$prefix", "(hd0,gpt2)/boot/grub"),
        ("x=}", "}"),
        ("x=$", "$"),
    ],
)
def test_values(script: str, expected: str) -> None:
    assert value(script) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("a = a", True),
        ("a == b", False),
        ("a != b", True),
        ("2 -lt 10", True),
        ("2 -ge 10", False),
        ("-1 -lt 1", True),
        ("-n a", True),
        ("-z a", False),
        ("-z ''", True),
        ("-n", True),
        ("''", False),
        ("a", True),
        ("", False),
        ("! a", False),
        ("! a = b", True),
        ("a = a -a b = c", False),
        ("a = b -o b = b", True),
        ("a = b -o b = b -a c = d", False),
        ("( a = b -o b = b ) -a c = c", True),
        ("-f /boot/file", True),
        ("-f /boot", False),
        ("-d /boot", True),
        ("-d /boot/file", False),
        ("-e /boot/dir/x", True),
        ("-e /none", False),
        ("-s /boot/empty", False),
        ("-s (hd0,gpt2)/boot/file", True),
        ("-s (hd7,gpt9)/boot/file", True),
    ],
)
def test_conditions(condition: str, expected: bool) -> None:
    for test in (f"[ {condition} ]", f"test {condition}"):
        assert value(f"if {test}; then x=yes; else x=no; fi") == ("yes" if expected else "no")


def test_an_entry_sees_the_end_of_the_script_and_changes_nothing() -> None:
    menu = menu_of(
        "function f { y=$y+; }\nmenuentry a { f; linux /k $y; }\nmenuentry b { linux /k $y; }\ny=late"
    )
    loads = [entry.load for entry in menu.entries]
    assert [load().arguments for load in loads if load is not None] == ["late+", "late"]


def test_options_of_entries() -> None:
    menu = menu_of(
        "menuentry --class a 'The title' --id=one --hotkey=x --users u --unrestricted arg "
        "$menuentry_id_option { linux /k $1 $2; }"
    )
    (entry,) = menu.entries
    assert (entry.title, entry.ids) == ("The title", ("one",))
    assert entry.load is not None
    assert entry.load().arguments == "The title arg"


def test_a_script_without_a_menu_boots() -> None:
    menu = menu_of("linux /k a b\ninitrd /i1 /i2")
    (entry,) = menu.entries
    assert entry.load is not None
    boot = entry.load()
    assert (boot.arguments, [file.path for file in boot.ramdisks]) == ("a b", ["/i1", "/i2"])


@pytest.mark.parametrize(("text", "timeout"), [("5", 5), ("-1", None), ("", None), ("x", None)])
def test_timeouts(text: str, timeout: float | None) -> None:
    assert menu_of(f"set timeout={text}\nmenuentry a {{ true; }}").timeout == timeout


@pytest.mark.parametrize(
    ("script", "where"),
    [
        ("true\nif true; then x", "2: 'fi' expected, not the end"),
        ("menuentry 'a {\n}", "1: a quotation has no end"),
        ('x="', "1: a quotation has no end"),
        ("menuentry a {\ntrue\n", "'}' expected, not the end"),
        ("}\n", "1: unexpected '}'"),
        ("for in in; x", "'do' expected"),
        ("function { }", "'{' expected, not '}'"),
        ("true && && true", "unexpected '&&'"),
    ],
)
def test_mistakes_are_reported_with_their_line(script: str, where: str) -> None:
    with pytest.raises(ScriptError) as error:
        menu_of(script)
    assert where in str(error.value)
    assert "(hd0,gpt2)/boot/grub/grub.cfg:" in str(error.value)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("while true; do true; done", "more than 100000 steps"),
        ("until false; do x=$x; done", "more than 100000 steps"),
        ("function f { f; }; f", "more than 30 calls"),
        ("function f { for i in 1 2 3 4 5 6 7 8 9; do f; done; }; f", "more than 30 calls"),
        ("source /boot/grub/itself", "more than 30 calls"),
        ("x=0123456789; while true; do x=$x$x; done", "longer than 65536"),
        ("x=aaaaaaaaaaaaaaaa; while true; do y=$x$x$x$x; x=$y; done", "longer than 65536"),
        ("while true; do menuentry a { true; }; done", "more than 1000 entries"),
        ("if true; then " * 60 + "true; " + "fi; " * 60, "more than 50 blocks"),
        ("menuentry a { " * 3000, "more than 50 blocks"),
    ],
)
def test_what_grows_without_end_is_stopped(script: str, why: str) -> None:
    started = time.process_time()
    with pytest.raises(ScriptError, match=why):
        menu_of(script, **{"/boot/grub/itself": "source /boot/grub/itself"})
    assert time.process_time() - started < 10


def test_submenus_that_contain_themselves_end() -> None:
    nested = "true"
    for number in range(40):
        nested = f"submenu {number} {{ {nested}; }}"
    menu = menu_of(nested)
    for _ in range(39):
        submenu = menu.entries[0].submenu
        assert submenu is not None
        menu = submenu()


WORDS = """
    if then elif else fi for in do done while until function menuentry submenu { } [ ] ! ; && ||
    set x=1 $x ${x} "$x" 'a' " ' \\ # linux /k initrd source /boot/file blscfg search --set=root
    break continue return shift test -n -a -o ( ) true false $ $1 ${ load_env
"""
SOUP = st.lists(st.sampled_from([*WORDS.split(), "\n"]), max_size=60).map(" ".join)


@given(st.one_of(SOUP, st.text(max_size=300)))
def test_any_text_is_a_script_or_an_error(text: str) -> None:
    try:
        menu = menu_of(text)
        for entry in menu.entries:
            if entry.load is not None:
                entry.load()
            elif entry.submenu is not None:
                entry.submenu()
    except BootError as error:
        assert str(error).isprintable()


@given(st.text(alphabet=st.characters(exclude_characters="'"), max_size=50))
def test_what_is_quoted_stays_as_it_is(text: str) -> None:
    (command,) = parse_script(f"echo '{text}'", "test")
    assert command.words[1].pieces[0].text == text  # type: ignore[union-attr]


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(max_size=20)))
def test_environment_blocks(variables: dict[str, str]) -> None:
    lines = [
        f"{name}={text}".replace("\\", "\\\\").replace("\n", "\\\n") + "\n"
        for name, text in variables.items()
    ]
    data = b"# GRUB Environment Block\n" + "".join(lines).encode(errors="replace") + b"#" * 100
    assert parse_environment_block(data) == variables


@given(st.binary(max_size=200))
def test_any_bytes_are_an_environment_block(data: bytes) -> None:
    parse_environment_block(data)
    parse_environment_block(b"# GRUB Environment Block\n" + data)
