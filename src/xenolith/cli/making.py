"""What the programs behind make's targets share: how they tell what takes a while, and how they end."""

from __future__ import annotations

import sys
from collections.abc import Callable

from xenolith.builder.errors import BuildError
from xenolith.storage.errors import ImageError
from xenolith.toolstack.client import ToolstackError
from xenolith.toolstack.config import ConfigError
from xenolith.toolstack.config_source import SourceError

INTERRUPTED = 130


def report(message: str) -> None:
    """Tell what is being done, on standard error."""
    print(message, file=sys.stderr, flush=True)


def exit_status(work: Callable[[], int]) -> int:
    """Do the work and return its exit status, or that of the sentence or Ctrl-C that it ended with."""
    try:
        return work()
    except (BuildError, ImageError, ToolstackError) as error:
        report(f"Error: {error}")
        return 1
    except (ConfigError, SourceError) as error:
        report(str(error))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
