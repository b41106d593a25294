"""`xl help`: what xl can do."""

from __future__ import annotations

from xenolith.cli import verbs
from xenolith.cli.command import AT_MOST_ONE, CommandError, Verb, parse_options

NAME = "help"
SYNOPSIS = "[--long] [COMMAND]"
HELP = """\
Print the list of commands, or what one of them does
--long                  Accepted: the list has all of them anyway.
"""
SHORT = ""
LONG = {"long": "l"}


def run(arguments: list[str]) -> int:
    """Print the list or the help of one verb."""
    options = parse_options(arguments, SHORT, LONG, AT_MOST_ONE)
    if not options.operands:
        print(overview())
        return 0
    candidates = verbs.matching(options.operands[0])
    if len(candidates) != 1:
        raise CommandError(f"there is no command '{options.operands[0]}', see 'xl help'")
    print(details(verbs.load(candidates[0])))
    return 0


def overview() -> str:
    """The list of verbs; xl's own shell completion reads its lines from the fifth on."""
    lines = ["Usage xl [-vfNtT] <subcommand> [args]", "", "xl full list of subcommands:", ""]
    for name in verbs.VERBS:
        summary = verbs.load(name).HELP.partition("\n")[0]
        lines.append(f" {name:<19} {summary}")
    return "\n".join(lines)


def details(verb: Verb) -> str:
    """The help of one verb."""
    summary, _, rest = verb.HELP.partition("\n")
    lines = [f"Usage: xl [-vfNtT] {verb.NAME} {verb.SYNOPSIS}".rstrip(), "", f"{summary}."]
    return "\n".join([*lines, "", rest.rstrip()] if rest else lines)
