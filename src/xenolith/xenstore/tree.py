"""The nodes: an immutable tree, so that a transaction's snapshot is a reference to its root.

Every change makes new nodes along one path and shares all others with the tree before it. A node's
generation identifies its content (value, permissions, names of children): equal generations mean
that nothing happened to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from xenolith.xenstore import path as paths
from xenolith.xenstore import permissions as perms
from xenolith.xenstore.change import Change, ChangeKind
from xenolith.xenstore.permissions import Permissions

_NO_CHILDREN: dict[str, Node] = {}


class Node:
    """One node. Neither it nor its children are modified once it is part of a tree."""

    __slots__ = ("children", "generation", "permissions", "value")

    def __init__(
        self,
        value: bytes,
        permissions: Permissions,
        children: dict[str, Node],
        generation: int,
    ) -> None:
        self.value = value
        self.permissions = permissions
        self.children = children
        self.generation = generation


class Event(NamedTuple):
    """Something happened at ``path``: what watches must hear of.

    ``exact`` events concern watches of that very path only: the node fell with its parent.
    ``before`` are the permissions that were in force and may no longer be: a watcher that could
    read by them hears of the change, too.
    """

    path: str
    exact: bool
    before: tuple[Permissions, ...]


class Tree:
    """A version of the store's nodes that moves on with each change applied to it."""

    def __init__(self, forest: Node, generations: Iterator[int]) -> None:
        self._forest = forest
        self._generations = generations
        self.owned: dict[int, int] = defaultdict(int)
        """How many nodes each domain has gained since this version began."""

    @classmethod
    def planted(cls, generations: Iterator[int]) -> Tree:
        """A tree of the root and the two special nodes."""
        tree = cls(Node(b"", perms.DOM0_ONLY, _NO_CHILDREN, 0), generations)
        roots = {
            "": Node(b"", perms.DOM0_ONLY, _NO_CHILDREN, next(generations)),
            "@introduceDomain": Node(b"", perms.DOM0_ONLY, _NO_CHILDREN, next(generations)),
            "@releaseDomain": Node(b"", perms.DOM0_READABLE, _NO_CHILDREN, next(generations)),
        }
        tree._forest = Node(b"", perms.DOM0_ONLY, roots, 0)
        tree.owned[0] = len(roots)
        return tree

    def snapshot(self) -> Tree:
        """A version of its own that starts as this one."""
        return Tree(self._forest, self._generations)

    def node(self, path: str) -> Node | None:
        """The node at an absolute path."""
        node: Node | None = self._forest
        for name in paths.names(path):
            if node is None:
                return None
            node = node.children.get(name)
        return node

    def nearest(self, path: str) -> tuple[str, Node]:
        """The lowest existing node on the way to ``path``, and its path.

        For a special path that does not exist it is the root.
        """
        spine, names = self._walk(path)
        if len(spine) < 2:
            return "/", self._forest.children[""]
        return "/".join(names[: len(spine) - 1]) or "/", spine[-1]

    def walk(self, path: str = "/") -> Iterator[tuple[str, Node, Node]]:
        """Yield (path, node, node above) of a node that exists and all below, parents first."""
        # Not recursive: a domain may nest nodes a thousand deep.
        spine, _ = self._walk(path)
        pending = [(path, spine[-1], spine[-2])]
        while pending:
            path, node, above = pending.pop()
            yield path, node, above
            for name in reversed(node.children):
                pending.append((paths.child(path, name), node.children[name], node))

    def nodes(self) -> Iterator[Node]:
        """Yield every node, the special ones included."""
        for _, node, _ in self.walk():
            yield node
        for _, node in self.specials():
            yield node

    def state(self) -> Iterator[Change]:
        """Yield changes that lead from a planted tree to this one."""
        for path, node, above in self.walk():
            if path != "/" or node.value:
                yield Change(ChangeKind.WRITE, path, node.value)
            if node.permissions != above.permissions:
                yield Change(ChangeKind.SET_PERMISSIONS, path, perms.render(node.permissions))
        for path, node in self.specials():
            yield Change(ChangeKind.SET_PERMISSIONS, path, perms.render(node.permissions))

    def special(self, name: str) -> Node:
        """The node of a special path that always exists."""
        return self._forest.children[name]

    def specials(self) -> Iterator[tuple[str, Node]]:
        """Yield the special nodes."""
        return ((name, node) for name, node in self._forest.children.items() if name)

    def apply(self, change: Change) -> list[Event]:
        """Make a change of nodes; a path to remove or to set permissions of must exist."""
        kind, path, data, domid, _ = change
        if kind == ChangeKind.WRITE:
            return self._write(path, data, domid)
        if kind == ChangeKind.REMOVE:
            return self._remove(path)
        return self._set_permissions(path, perms.parse(data.split(b"\0")[:-1]))

    def _write(self, path: str, value: bytes, creator: int) -> list[Event]:
        spine, names = self._walk(path)
        missing = names[len(spine) - 1 :]
        last = spine[-1]
        generation = next(self._generations)
        if not missing:
            node = Node(value, last.permissions, last.children, generation)
        else:
            permissions = perms.inherited(last.permissions, creator)
            below = Node(value, permissions, _NO_CHILDREN, generation)
            for name in reversed(missing[1:]):
                below = Node(b"", permissions, {name: below}, generation)
            children = {**last.children, missing[0]: below}
            node = Node(last.value, last.permissions, children, generation)
            self.owned[permissions[0].domid] += len(missing)
        self._replace(spine, names, node)
        return [Event(path, False, ())]

    def _remove(self, path: str) -> list[Event]:
        spine, names = self._walk(path)
        events = []
        for below, node, parent in self.walk(path):
            self.owned[node.permissions[0].domid] -= 1
            before = (node.permissions, parent.permissions)
            events.append(Event(below, below != path, before))
        events.reverse()
        above = spine[-2]
        children = dict(above.children)
        del children[names[-1]]
        node = Node(above.value, above.permissions, children, next(self._generations))
        self._replace(spine[:-1], names, node)
        return events

    def _set_permissions(self, path: str, permissions: Permissions) -> list[Event]:
        spine, names = self._walk(path)
        old = spine[-1]
        self.owned[old.permissions[0].domid] -= 1
        self.owned[permissions[0].domid] += 1
        node = Node(old.value, permissions, old.children, next(self._generations))
        self._replace(spine, names, node)
        return [Event(path, False, (old.permissions,))]

    def _walk(self, path: str) -> tuple[list[Node], list[str]]:
        """The existing nodes from the forest towards ``path``, and the names of the whole walk."""
        names = paths.names(path)
        node = self._forest
        spine = [node]
        for name in names:
            below = node.children.get(name)
            if below is None:
                break
            spine.append(below)
            node = below
        return spine, names

    def _replace(self, spine: Sequence[Node], names: Sequence[str], node: Node) -> None:
        """Put ``node`` in the place of the last of ``spine``."""
        for depth in range(len(spine) - 2, -1, -1):
            above = spine[depth]
            children = {**above.children, names[depth]: node}
            node = Node(above.value, above.permissions, children, above.generation)
        self._forest = node
