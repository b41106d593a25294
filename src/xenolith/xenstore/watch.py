"""Watches: who wants to hear of which path, found by path without looking at the others.

Follows docs/misc/xenstore.txt, WATCH: a watch covers its path and all below it, down to a depth
if one was given.
"""

from __future__ import annotations

from typing import Protocol

from xenolith.abi.xs_wire import XENSTORE_PAYLOAD_MAX
from xenolith.xenstore import path as paths
from xenolith.xenstore.permissions import Permissions
from xenolith.xenstore.tree import Event, Tree


class Watcher(Protocol):
    """Who set a watch."""

    @property
    def privileged(self) -> bool:
        """Whether the watcher may read everything."""

    def hear(self, path: str, token: bytes) -> None:
        """Take note of an event, with the path as the watcher should see it."""

    def may_read(self, permissions: Permissions) -> bool:
        """Whether the watcher may read a node with these permissions."""


class Watch:
    """One watch."""

    __slots__ = ("depth", "path", "shown", "token", "unconfirmed", "watcher")

    def __init__(
        self, watcher: Watcher, path: str, shown: str, token: bytes, depth: int | None
    ) -> None:
        """``shown`` is the path as the watcher wrote it: relative, perhaps."""
        self.watcher = watcher
        self.path = path
        self.shown = shown
        self.token = token
        self.depth = depth
        self.unconfirmed = False
        """Its watcher may not know that it is set: a connection was lost since."""

    def fire(self, path: str) -> None:
        """Tell the watcher of an event at ``path``, which the watch covers."""
        shown = path[len(self.path) - len(self.shown) :]
        if len(shown) + len(self.token) + 2 > XENSTORE_PAYLOAD_MAX:
            # Too long for a message; the request that set the watch was not.
            shown = self.shown
        self.watcher.hear(shown, self.token)

    def trigger(self) -> None:
        """Fire for no particular event, so that the watcher looks for itself."""
        self.watcher.hear(self.shown, self.token)


class WatchTable:
    """All watches, by path."""

    def __init__(self) -> None:
        self._by_path: dict[str, dict[Watch, None]] = {}

    def add(self, watch: Watch) -> None:
        """Have a watch found from now on."""
        self._by_path.setdefault(watch.path, {})[watch] = None

    def discard(self, watch: Watch) -> None:
        """Have a watch found no more."""
        at_path = self._by_path[watch.path]
        del at_path[watch]
        if not at_path:
            del self._by_path[watch.path]

    def fire(self, event: Event, tree: Tree) -> None:
        """Tell the watches that an event concerns, as far as their watchers may know of it."""
        path = event.path
        watches = list(self._by_path.get(path, ())) if event.exact else self._covering(path)
        for watch in watches:
            if _may_hear(watch.watcher, event, tree):
                watch.fire(path)

    def announce(self, name: str, domid: int, tree: Tree) -> None:
        """Fire a special watch about a domain.

        A watch of ``name`` hears just that or, if it was set with a depth of 1 or more, of
        ``name``/``domid``; so does a watch of ``name``/``domid``.
        """
        permissions = tree.special(name).permissions
        about = f"{name}/{domid}"
        for watch in (*self._by_path.get(name, ()), *self._by_path.get(about, ())):
            if watch.depth == 0 and watch.path == name:
                continue
            if watch.watcher.may_read(permissions):
                watch.fire(name if watch.depth is None and watch.path == name else about)

    def _covering(self, path: str) -> list[Watch]:
        """The watches of ``path`` and of its ancestors that reach down to it."""
        found: list[Watch] = []
        by_path = self._by_path
        ancestors = paths.prefixes(path)
        levels = len(ancestors) - 1
        for level, ancestor in enumerate(ancestors):
            for watch in by_path.get(ancestor, ()):
                if watch.depth is None or levels - level <= watch.depth:
                    found.append(watch)
        return found


def _may_hear(watcher: Watcher, event: Event, tree: Tree) -> bool:
    """Whether node or parent are readable, or were before the event."""
    if watcher.privileged or any(map(watcher.may_read, event.before)):
        return True
    nodes = (tree.node(event.path), tree.node(paths.parent(event.path)))
    return any(node is not None and watcher.may_read(node.permissions) for node in nodes)
