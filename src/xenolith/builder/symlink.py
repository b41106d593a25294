"""Replaces symbolic links so that a reader finds the old target or the new one."""

from __future__ import annotations

import os
from pathlib import Path


def replace_symlink(path: Path, target: str | Path) -> None:
    """Make ``path`` a link to ``target``, in place of a link or file that is there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
