"""Reading a domain's configuration for a verb: what is wrong with it goes to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TextIO

from xenolith.toolstack.config import ConfigError, DomainConfig, Loaded, load
from xenolith.toolstack.config.libxl_json import to_libxl


def load_or_report(path: str, overrides: Sequence[str]) -> Loaded | None:
    """The configuration; None after its errors were printed, one line for each."""
    try:
        return load(path, overrides)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return None


def print_warnings(loaded: Loaded) -> None:
    """Print what the author of the configuration should know."""
    for warning in loaded.warnings:
        print(warning, file=sys.stderr)


def print_as_libxl(config: DomainConfig, stream: TextIO) -> None:
    """Print a configuration as `xl create -n` does."""
    print(json.dumps(to_libxl(config), indent=4), file=stream)


def split_file_and_overrides(operands: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate ``key=value`` settings from file names, by the equals sign as xl does."""
    files = [operand for operand in operands if "=" not in operand]
    return files, [operand for operand in operands if "=" in operand]
