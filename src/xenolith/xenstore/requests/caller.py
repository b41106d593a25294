"""Who sends a request, and how its payload is taken apart.

Payload syntax as in docs/misc/xenstore.txt: strings that end in NUL, in one case followed by data.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi.errno import Errno
from xenolith.abi.xen import DOMID_FIRST_RESERVED
from xenolith.xenstore import path as paths
from xenolith.xenstore.database import Database
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.operations import View
from xenolith.xenstore.protocol import Message, strings
from xenolith.xenstore.quota import Quota
from xenolith.xenstore.session import Session


class Caller:
    """The session that requests act for, and the store that they act on."""

    def __init__(self, database: Database, session: Session) -> None:
        self.database = database
        self.session = session
        self.domain = session.domain

    def view(self, message: Message) -> View:
        """What a request sees: the store, or the transaction that it belongs to; ENOENT."""
        return self.database.view(self.session, message.transaction_id)

    def path(self, raw: bytes) -> str:
        """The absolute path that the caller means; EINVAL if malformed or too long."""
        path = paths.resolve(raw, self.domain.home)
        domain = self.domain
        if not domain.privileged and not domain.limits.allow(
            Quota.PATH_MAX, paths.quota_length(path)
        ):
            raise XenstoreError(Errno.EINVAL, f"a path of {len(path)} bytes")
        return path

    def only_path(self, message: Message) -> str:
        """The path that is all of a payload; EINVAL."""
        return self.path(only_string(message.payload))


Handler = Callable[[Caller, Message], bytes]
"""Acts on a request and returns the payload of its reply; XenstoreError becomes an ERROR."""


def only_string(payload: bytes) -> bytes:
    """The string that is all of a payload; EINVAL."""
    if payload.find(0) != len(payload) - 1:
        raise XenstoreError(Errno.EINVAL, "not exactly one string")
    return payload[:-1]


def exactly(count: int, payload: bytes) -> list[bytes]:
    """The ``count`` strings of a payload; EINVAL if there are more or less."""
    found = strings(payload)
    if len(found) != count:
        raise XenstoreError(Errno.EINVAL, f"{len(found)} strings instead of {count}")
    return found


def number(raw: bytes) -> int:
    """A decimal number of at most 32 bits; EINVAL."""
    if not raw.isdigit() or len(raw) > 10 or int(raw) > 0xFFFFFFFF:
        raise XenstoreError(Errno.EINVAL, f"not a number: {raw[:20]!r}")
    return int(raw)


def domain_id(raw: bytes) -> int:
    """A domain id in decimal; EINVAL if it is none that a domain can have."""
    domid = number(raw)
    if domid >= DOMID_FIRST_RESERVED:
        raise XenstoreError(Errno.EINVAL, f"no domain {domid}")
    return domid
