"""`vhd help`: what vhd can do."""

from __future__ import annotations

from xenolith.cli import vhd_verbs
from xenolith.cli.command import AT_MOST_ONE, CommandError, parse_options

NAME = "help"
SYNOPSIS = "[COMMAND]"
HELP = """\
Print the list of commands, or what one of them does
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Print the list or the help of one verb."""
    options = parse_options(arguments, SHORT, LONG, AT_MOST_ONE)
    if not options.operands:
        print("Usage: vhd COMMAND [ARGUMENTS]\n")
        for name in vhd_verbs.VERBS:
            print(f" {name:<12} {vhd_verbs.load(name).HELP.partition(chr(10))[0]}")
        return 0
    name = options.operands[0]
    if name not in vhd_verbs.VERBS:
        raise CommandError(f"there is no command '{name}', see 'vhd help'")
    verb = vhd_verbs.load(name)
    summary, _, rest = verb.HELP.partition("\n")
    lines = [f"Usage: vhd {name} {verb.SYNOPSIS}", "", f"{summary}."]
    print("\n".join([*lines, "", rest.rstrip()] if rest else lines))
    return 0
