"""The program `xl`: xl(1) of Xen for Xenolith's daemon.

It looks up the verb, imports that module alone, and turns every failure into one sentence on
standard error and xl's exit status.
"""

from __future__ import annotations

import getopt
import os
import sys

from xenolith.cli import standard_streams, verbs
from xenolith.cli.command import CommandError, HelpRequested, Interrupted, UsageError, Verb
from xenolith.toolstack.client import ToolstackError

GLOBAL_OPTIONS = "vfNtTh"
"""Verbose, force, dry run, carriage returns and timestamps in progress reports, help."""

FAILED = 1
BAD_USAGE = 2


def main(argv: list[str] | None = None) -> int:
    """Run `xl` with these arguments, the program's name left out; return its exit status.

    Without any it is the program: it takes those of the process, and ends that.
    """
    if argv is not None:
        return _guarded(argv)
    standard_streams.open_closed()
    status = _guarded(sys.argv[1:])
    # The interpreter's tidying up would take milliseconds, and a signal that comes meanwhile
    # would make what is done look as if it had been stopped.
    os._exit(status)


def _guarded(arguments: list[str]) -> int:
    """Run a command, its output complete; return the exit status for every way in which it ends."""
    try:
        status = _main(arguments)
        standard_streams.finish_output()
    except OSError as error:
        return _without_output(error)
    except Interrupted as interrupted:
        return interrupted.exit_status
    except KeyboardInterrupt:
        return 130
    return status


def _without_output(error: OSError) -> int:
    """End after standard output could not be written; whoever closed a pipe knows already."""
    if not isinstance(error, BrokenPipeError):
        print(f"Error: the output cannot be written: {error.strerror}", file=sys.stderr)
    standard_streams.give_up_output()
    return FAILED


def _main(arguments: list[str]) -> int:
    try:
        found, rest = getopt.getopt(arguments, GLOBAL_OPTIONS, ["version", "help"])
    except getopt.GetoptError as error:
        return _fail(f"{error.msg} among the global options", FAILED)
    options = {option for option, _ in found}
    if "--version" in options:
        return _print_version()
    if options & {"-h", "--help"}:
        rest.insert(0, "help")
    if not rest:
        verbs.load("help").run([])
        return FAILED
    name, *rest = rest
    candidates = verbs.matching(name)
    if len(candidates) != 1:
        return _fail(_unknown_verb(name, candidates), FAILED)
    verb = verbs.load(candidates[0])
    if "-N" in options:
        if "n" not in verb.SHORT or "dryrun" not in verb.LONG:
            return _fail(f"xl {verb.NAME} does not implement -N (dry run)", FAILED)
        rest.insert(0, "-n")
    return _run(verb, rest)


def _run(verb: Verb, arguments: list[str]) -> int:
    try:
        return verb.run(arguments)
    except HelpRequested:
        return verbs.load("help").run([verb.NAME])
    except UsageError as error:
        usage = f"usage: xl {verb.NAME} {verb.SYNOPSIS}".rstrip()
        return _fail(f"xl {verb.NAME}: {error} ({usage})", BAD_USAGE)
    except (CommandError, ToolstackError) as error:
        return _fail(str(error), FAILED)


def _unknown_verb(name: str, candidates: list[str]) -> str:
    if candidates:
        return f"'{name}' may be any of {', '.join(candidates)}"
    if name in verbs.ABSENT:
        return f"xl {name} is not supported by Xenolith yet"
    import difflib  # noqa: PLC0415 - it is slow to import and hardly ever needed

    near = difflib.get_close_matches(name, verbs.VERBS, n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ", see 'xl help'"
    return f"there is no command '{name}'{hint}"


def _print_version() -> int:
    from xenolith import __version__  # noqa: PLC0415

    print(f"xl (Xenolith) {__version__}")
    return 0


def _fail(sentence: str, status: int) -> int:
    sys.stdout.flush()
    print(f"Error: {sentence}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
