"""What the run directory holds for a domain: control socket, status page, and a record of it.

These files are how a new daemon finds the domains of a dead one. The record is JSON, replaced
whole whenever it changes.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from xenolith.toolstack import paths

_LAST_DOMID = "last-domid"


class DomainRecord(NamedTuple):
    """What outlives the daemon about a domain."""

    domid: int
    config: dict[str, Any]
    created: float
    """Seconds since the epoch."""
    pid: int | None
    """None while the domain is being built."""
    process_started: int | None
    """When it started, in clock ticks since the host did: tells it from a later process."""
    building: bool
    """Whether its creation is still under way."""
    preserved: bool
    """Whether its end has been dealt with, and it is kept for somebody to look at."""


def control_socket(domid: int) -> str:
    """The socket on which the domain's process listens for daemons."""
    return f"{paths.domains_dir()}/{domid}.socket"


def status_file(domid: int) -> str:
    """The domain's status page."""
    return f"{paths.domains_dir()}/{domid}.status"


def _record_file(domid: int) -> str:
    return f"{paths.domains_dir()}/{domid}.json"


def save(record: DomainRecord) -> None:
    """Store a record in place of the domain's last one; OSError."""
    path = _record_file(record.domid)
    _write(f"{path}.new", json.dumps(record._asdict()))
    os.replace(f"{path}.new", path)


def load_all() -> Iterator[DomainRecord]:
    """The records of all domains, by domid; files without a readable record are removed."""
    stems = {name.partition(".")[0] for name in os.listdir(paths.domains_dir())}
    for domid in sorted(int(stem) for stem in stems if stem.isdigit()):
        try:
            with open(_record_file(domid), encoding="utf-8") as file:
                yield DomainRecord(**json.load(file))
        except (OSError, ValueError, TypeError):
            remove(domid)


def remove(domid: int) -> None:
    """Remove all files of a domain that is gone, first the record that says that it is there."""
    for path in (_record_file(domid), control_socket(domid), status_file(domid)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def last_domid() -> int:
    """The domid that was given out last, by any daemon since the host started; 0 if none was."""
    try:
        with open(f"{paths.domains_dir()}/{_LAST_DOMID}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def save_last_domid(domid: int) -> None:
    """Remember which domid was given out last; OSError."""
    # Of one length, so it can be written in place: it is on the way to each domain's start.
    _write(f"{paths.domains_dir()}/{_LAST_DOMID}", f"{domid:5}")


def _write(path: str, text: str) -> None:
    """Write a file; OSError that names it, which a failed write by itself does not."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def last_cpu(pid: int) -> int | None:
    """The host CPU on which the busiest thread of a process, which runs the vCPUs, ran last."""
    busiest: tuple[int, int] | None = None
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(
                f"/proc/{pid}/task/{thread}/stat", encoding="ascii", errors="replace"
            ) as file:
                # From the third field of proc(5) on: the name before it may hold anything.
                fields = file.read().rpartition(")")[2].split()
            used, cpu = int(fields[11]) + int(fields[12]), int(fields[36])
            busiest = max(busiest or (used, cpu), (used, cpu))
    except (OSError, IndexError, ValueError):
        return None
    return busiest[1] if busiest is not None else None


def process_started(pid: int) -> int | None:
    """When a process started, in clock ticks since the host did; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            # The name in parentheses may hold anything (proc(5)); the 22nd field is wanted.
            return int(file.read().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
