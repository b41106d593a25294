"""Reading a domain's configuration for a verb: what is wrong with it goes to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from xenolith.toolstack.config import ConfigError, DomainConfig, Loaded, load
from xenolith.toolstack.config.libxl_json import to_libxl
from xenolith.toolstack.config_source import SourceError, read_source


def load_or_report(path: str, overrides: Sequence[str]) -> Loaded | None:
    """The configuration, its warnings printed; None after its errors were, one line for each."""
    try:
        loaded = load(read_source(path, overrides))
    except (SourceError, ConfigError) as error:
        print(error, file=sys.stderr)
        return None
    for warning in loaded.warnings:
        print(warning, file=sys.stderr)
    return loaded


def as_libxl(config: DomainConfig) -> str:
    """A configuration as `xl create -n` prints it."""
    return json.dumps(to_libxl(config), indent=4)
