"""`xl check-config`: say whether a configuration is right, and create nothing."""

from __future__ import annotations

from xenolith.cli import config_file
from xenolith.cli.command import (
    AT_LEAST_ONE,
    CommandError,
    UsageError,
    parse_options,
    split_settings,
)
from xenolith.toolstack.config.runnable import refusal

NAME = "check-config"
SYNOPSIS = "FILE [KEY=VALUE...]"
HELP = """\
Check a configuration file without creating a domain
Prints every mistake and every warning with its place; the exit status is 0 if a domain could be
created from it. `xl create -n` prints the configuration besides.
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Check the configuration; return 0 if it is right."""
    options = parse_options(arguments, SHORT, LONG, AT_LEAST_ONE)
    files, overrides = split_settings(options.operands)
    if len(files) != 1:
        raise UsageError("one configuration file is needed")
    loaded = config_file.load_or_report(files[0], overrides)
    if loaded is None:
        return 1
    why = refusal(loaded.config)
    if why is not None:
        raise CommandError(f"Domain {loaded.config.name} cannot be created: {why}")
    return 0
