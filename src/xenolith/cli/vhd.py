"""The program `vhd`: makes, changes, checks and converts disk images in the VHD format.

It looks up the verb, imports that module alone, and turns every failure into one sentence on
standard error and an exit status: 1 for what failed, 2 for a command line that makes no sense.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from xenolith.cli import standard_streams, vhd_verbs
from xenolith.cli.command import CommandError, HelpRequested, UsageError
from xenolith.storage.errors import ImageError

FAILED = 1
BAD_USAGE = 2
INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run `vhd` with these arguments, or those of the process; return its exit status."""
    return guarded(_run, sys.argv[1:] if argv is None else argv)


def guarded(command: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Run a command about images, its output complete; return the exit status however it ends."""
    standard_streams.open_closed()
    try:
        status = command(arguments)
        standard_streams.finish_output()
    except (CommandError, ImageError) as error:
        return fail(str(error), FAILED)
    except BrokenPipeError:
        standard_streams.give_up_output()
        return FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"{where}{error.strerror or error}", FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def fail(sentence: str, status: int) -> int:
    """Say why nothing more is done; return the exit status."""
    print(f"Error: {sentence}", file=sys.stderr)
    return status


def _run(arguments: list[str]) -> int:
    if not arguments:
        vhd_verbs.load("help").run([])
        return FAILED
    name, *rest = arguments
    if name == "--version":
        from xenolith import __version__  # noqa: PLC0415

        print(f"vhd (Xenolith) {__version__}")
        return 0
    if name in ("-h", "--help"):
        name = "help"
    if name not in vhd_verbs.VERBS:
        return fail(f"there is no command '{name}', see 'vhd help'", BAD_USAGE)
    verb = vhd_verbs.load(name)
    try:
        return verb.run(rest)
    except HelpRequested:
        return vhd_verbs.load("help").run([name])
    except UsageError as error:
        return fail(f"vhd {name}: {error} (usage: vhd {name} {verb.SYNOPSIS})", BAD_USAGE)


if __name__ == "__main__":
    sys.exit(main())
