"""The commands of the CONTROL request, for administrators (xenstore-control).

A subset of those that docs/misc/xenstore.txt lists; what they print is not specified there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from xenolith.abi.errno import Errno
from xenolith.xenstore.change import ALL_DOMAINS
from xenolith.xenstore.database import Database
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.protocol import OK
from xenolith.xenstore.quota import Quota
from xenolith.xenstore.requests.caller import domain_id

_log = logging.getLogger(__name__)


def run(database: Database, command: bytes, arguments: list[bytes]) -> bytes:
    """Execute a command and return the reply's payload; EINVAL if command or arguments are not."""
    if command not in _COMMANDS:
        raise XenstoreError(Errno.EINVAL, f"no command {command[:40]!r}")
    return _COMMANDS[command][0](database, arguments)


def _check(database: Database, arguments: list[bytes]) -> bytes:
    _expect(arguments, 0)
    database.check()
    return OK


def _print(_database: Database, arguments: list[bytes]) -> bytes:
    _expect(arguments, 1)
    _log.info("control: %s", arguments[0].decode("ascii", "backslashreplace"))
    return OK


def _quota(database: Database, arguments: list[bytes]) -> bytes:
    if arguments:
        _expect(arguments, 1)
        domid = domain_id(arguments[0])
        domain = database.domains.introduced(domid)
        used = {
            Quota.NODES: database.owned(domid),
            Quota.WATCHES: len(domain.session.watches),
            Quota.TRANSACTIONS: len(domain.session.transactions),
        }
        lines = [f"Domain {domid}:"]
        lines += [f"{quota:17}: {amount:8}" for quota, amount in used.items()]
    else:
        lines = ["Quota settings:"]
        limits = database.domains.limits(ALL_DOMAINS)
        lines += [f"{quota:17}: {limit:8}" for quota, limit in limits.items()]
    return _text(lines)


def _help(_database: Database, arguments: list[bytes]) -> bytes:
    _expect(arguments, 0)
    return _text([f"{name.decode():15} {usage}" for name, (_, usage) in _COMMANDS.items()])


def _expect(arguments: list[bytes], count: int) -> None:
    if len(arguments) != count:
        raise XenstoreError(Errno.EINVAL, f"{len(arguments)} arguments instead of {count}")


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode() + b"\0"


_COMMANDS: dict[bytes, tuple[Callable[[Database, list[bytes]], bytes], str]] = {
    b"check": (_check, ""),
    b"print": (_print, "<string>"),
    b"quota": (_quota, "[<domid>]"),
    b"help": (_help, ""),
}
