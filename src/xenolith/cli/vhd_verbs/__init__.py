"""The verbs of `vhd`: one module each, which has the shape of :class:`xenolith.cli.command.Verb`.

A module is imported when its verb is used; `vhd help` imports them all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from xenolith.cli.command import Verb

VERBS = (
    "create",
    "snapshot",
    "clone",
    "coalesce",
    "resize",
    "check",
    "repair",
    "convert",
    "info",
    "map",
    "serve",
    "help",
)
"""In the order of `vhd help`."""


def load(name: str) -> Verb:
    """The module of a verb that is in VERBS."""
    return cast("Verb", importlib.import_module(f"{__name__}.{name}"))
