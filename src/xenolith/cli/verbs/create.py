"""`xl create`: build and start a domain from a configuration."""

from __future__ import annotations

import os
import socket
import sys
from typing import NamedTuple

from xenolith.cli import signals, terminal
from xenolith.cli.command import (
    ANY_NUMBER,
    Interrupted,
    Options,
    UsageError,
    parse_options,
    split_settings,
)
from xenolith.toolstack.client import Toolstack, ToolstackError
from xenolith.toolstack.config_source import SourceError, read_source
from xenolith.toolstack.rpc import Body

NAME = "create"
SYNOPSIS = "[OPTIONS] FILE [KEY=VALUE...]"
HELP = """\
Create a domain from a configuration file
FILE is an xl.cfg(5) file, "-" for standard input; settings after it override it.
-f, --defconfig=FILE    Use this file.
-p                      Leave the domain paused.
-c                      Attach to the console, from the first line on; a boot loader shows its menu.
-F                      Stay in the foreground until the domain ends; Ctrl-C destroys it.
-e                      Accepted: no process waits for the domain in the background anyway.
-n, --dryrun            Check the configuration and print it as JSON; create nothing.
-d                      Print the configuration as JSON to standard error.
-q, --quiet             Do not say what is going on, and do not warn.
--cloud-init=FILE       Have the guest's cloud-init do what this file of user data says.
"""
SHORT = "cdeFf:npq"
LONG = {"defconfig": "f", "dryrun": "n", "quiet": "q", "cloud-init": "I"}


class _Created(NamedTuple):
    domid: int
    console: socket.socket | None


def run(arguments: list[str]) -> int:
    """Create the domain; return xl's exit status."""
    options = parse_options(arguments, f"{SHORT}I:", LONG, ANY_NUMBER)
    path, overrides = _source(options)
    if "I" in options:
        overrides.append(_cloud_init(options.given["I"]))
    _say(options, f"Parsing config from {path}")
    if "n" in options:
        return _check(path, overrides)
    try:
        source = read_source(path, overrides)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    with signals.signals_as_exceptions(), Toolstack.connect() as toolstack:
        config, messages = toolstack.load_config(source)
        if config is None or "q" not in options:
            print(*messages, sep="\n", end="\n" if messages else "", file=sys.stderr)
        if config is None:
            return 1
        if "d" in options:
            _print_as_libxl(config)
        if "F" in options:
            _run_in_foreground(toolstack, config, options)
        else:
            _show(_create(toolstack, config, options))
    return 0


def _check(path: str, overrides: list[str]) -> int:
    from xenolith.cli import config_file  # noqa: PLC0415 - slow, and the daemon's job otherwise

    loaded = config_file.load_or_report(path, overrides)
    if loaded is None:
        return 1
    print(config_file.as_libxl(loaded.config))
    return 0


def _print_as_libxl(config: Body) -> None:
    from xenolith.cli import config_file  # noqa: PLC0415 - slow; -d only
    from xenolith.toolstack.config import DomainConfig  # noqa: PLC0415

    print(config_file.as_libxl(DomainConfig.from_dict(config)), file=sys.stderr)


def _source(options: Options) -> tuple[str, list[str]]:
    files, overrides = split_settings(options.operands)
    if "f" in options:
        files.insert(0, options.given["f"])
    if not files:
        raise UsageError("a configuration file is needed")
    if len(files) > 1:
        raise UsageError(f"unexpected argument '{files[1]}'")
    return files[0], overrides


def _cloud_init(path: str) -> str:
    """The setting that names a file of user data, which is looked for in the current directory."""
    escaped = os.path.abspath(path).replace("\\", r"\\").replace('"', r"\"")
    return f'cloud_init="{escaped}"'


def _create(toolstack: Toolstack, config: Body, options: Options) -> _Created:
    """Create the domain and, with -c, attach its console before it runs; all of it or nothing.

    A signal waits for the daemon's answer, because before that there is nothing to destroy.
    """
    attach, paused = "c" in options, "p" in options
    console: socket.socket | None = None
    try:
        with signals.held_signals():
            if attach and config["bootloader"] is not None and terminal.is_interactive():
                domid = toolstack.create_choosing(
                    config, os.get_terminal_size(), terminal.attach, paused=True
                )
            else:
                domid = toolstack.create(config, paused=paused or attach)
            try:
                if attach:
                    console = toolstack.console(domid)
                if attach and not paused:
                    toolstack.unpause(domid)
            except ToolstackError:
                toolstack.destroy(domid)
                raise
    except BaseException as failure:
        if console is not None:
            console.close()
        if isinstance(failure, Interrupted):
            _destroy(config["uuid"])
        raise
    return _Created(domid, console)


def _show(created: _Created) -> None:
    if created.console is not None:
        with created.console:
            terminal.attach(created.console)


def _run_in_foreground(toolstack: Toolstack, config: Body, options: Options) -> None:
    """Create the domain and wait until it has ended for good, through its reboots."""
    try:
        created = _create(toolstack, config, options)
        _show(created)
        _wait(toolstack, created.domid, config["name"], options)
    except Interrupted:
        _destroy(config["uuid"])
        raise


def _wait(toolstack: Toolstack, domid: int, name: str, options: Options) -> None:
    _say(options, f"Waiting for domain {name} (domid {domid}) to die [pid {os.getpid()}]")
    while (end := toolstack.wait(domid)).successor is not None:
        _say(options, f"Domain {domid} has restarted as domain {end.successor}")
        domid = end.successor
    how = "destroyed" if end.reason is None else f"shut down, reason code {end.reason}"
    # Even with -q, as xl does: it is what whoever waits waits for.
    print(f"Domain {domid} has been {how}", file=sys.stderr)


def _destroy(uuid: str) -> None:
    """Destroy the domain, if there is one, over a connection that is not waiting for an answer."""
    with Toolstack.connect() as toolstack:
        for domain in toolstack.list():
            if domain.uuid == uuid:
                toolstack.destroy(domain.domid)


def _say(options: Options, sentence: str) -> None:
    if "q" not in options:
        print(sentence, file=sys.stderr)
