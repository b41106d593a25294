"""What can change in the store, as data: a request commits changes, the journal keeps them.

The vocabulary is that of docs/misc/xenstore.txt; one shape for all kinds keeps the journal simple.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class ChangeKind(IntEnum):
    """What a change does; which fields of :class:`Change` mean something for it."""

    WRITE = 1
    """Node ``path`` has value ``data``; it and its missing parents are created by ``domid``."""
    REMOVE = 2
    """Node ``path`` and all below it are gone."""
    SET_PERMISSIONS = 3
    """Node ``path`` has the permissions that ``data`` lists as on the wire."""
    INTRODUCE = 4
    """Domain ``domid`` talks to the store."""
    RELEASE = 5
    """Domain ``domid`` is forgotten; its nodes were removed before."""
    SET_TARGET = 6
    """Domain ``domid`` acts for domain ``number``."""
    SET_FEATURES = 7
    """Domain ``domid`` has the feature bits ``number``."""
    SET_QUOTA = 8
    """Quota ``path`` of domain ``domid`` (ALL_DOMAINS: the default) is ``number``."""
    WATCH = 9
    """Domain ``domid`` watches ``path``, as it wrote it, with token ``data``, depth ``number``."""
    UNWATCH = 10
    """Domain ``domid`` no longer watches ``path`` with token ``data``."""
    RESET_WATCHES = 11
    """Domain ``domid`` watches nothing."""
    RESERVE_TRANSACTIONS = 12
    """Transactions have had ids below ``number``."""


NODE_CHANGES = frozenset((ChangeKind.WRITE, ChangeKind.REMOVE, ChangeKind.SET_PERMISSIONS))
"""The changes of the tree; the others are not part of transactions."""

WATCH_CHANGES = frozenset((ChangeKind.WATCH, ChangeKind.UNWATCH, ChangeKind.RESET_WATCHES))
"""The changes of a domain's watches."""

ALL_DOMAINS = -1
NO_DEPTH = -1


class Change(NamedTuple):
    """One change of the store's state."""

    kind: ChangeKind
    path: str = ""
    data: bytes = b""
    domid: int = 0
    number: int = 0
