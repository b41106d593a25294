"""`xl cpupool-create`: a CPU pool of free CPUs."""

from __future__ import annotations

import sys

from xenolith.cli.command import ANY_NUMBER, Options, UsageError, parse_options, split_settings
from xenolith.toolstack.client import Toolstack
from xenolith.toolstack.config_source import COMMAND_LINE, ConfigSource, SourceError, read_source

NAME = "cpupool-create"
SYNOPSIS = "[-n] [FILE] [KEY=VALUE...]"
HELP = """\
Create a CPU pool of CPUs that are free
FILE is an xlcpupool.cfg(5) file with name, sched, nodes and cpus; settings after it override it.
-f, --defconfig=FILE    Use this file.
-n, --dryrun            Check the configuration; create nothing.
"""
SHORT = "f:n"
LONG = {"defconfig": "f", "dryrun": "n"}


def run(arguments: list[str]) -> int:
    """Create the pool and say what it is."""
    options = parse_options(arguments, SHORT, LONG, ANY_NUMBER)
    try:
        source = _source(options)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    with Toolstack.connect() as toolstack:
        # In this order, as in xl: what is printed has been checked, and is not there yet.
        pool = toolstack.cpus.load_cpupool(source)
        print(f'Using config file "{source.name}"')
        print(f"cpupool name:   {pool.name}")
        print(f"scheduler:      {pool.scheduler}")
        print(f"number of cpus: {len(pool.cpus)}")
        if "n" not in options:
            toolstack.cpus.create_cpupool(source)
    return 0


def _source(options: Options) -> ConfigSource:
    files, settings = split_settings(options.operands)
    if "f" in options:
        files.insert(0, options.given["f"])
    if len(files) > 1:
        raise UsageError(f"unexpected argument '{files[1]}'")
    if files:
        return read_source(files[0], settings)
    return ConfigSource("", COMMAND_LINE, tuple(settings), ())
