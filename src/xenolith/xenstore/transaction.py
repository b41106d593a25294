"""Transactions: a snapshot, what was looked at, and the changes to repeat on commit.

As in xenstored, a transaction conflicts if a node that it read or wrote has changed since it began
(content, permissions or names of children); other changes do not disturb it.
"""

from __future__ import annotations

from xenolith.abi.errno import Errno
from xenolith.xenstore.change import Change, ChangeKind
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.quota import Limits, Quota
from xenolith.xenstore.tree import Node, Tree


class Transaction:
    """The store as one client sees and changes it until it commits or gives up."""

    def __init__(self, live: Tree, domid: int, limits: Limits) -> None:
        """``live`` is the store's tree, which moves on; ``domid`` whose limits these are."""
        self.changes: list[Change] = []
        self._live = live
        self._base = live.snapshot()
        self._tree = live.snapshot()
        self._domid = domid
        self._limits = limits
        self._accessed: set[str] = set()
        self._over_quota = False

    def node(self, path: str) -> Node | None:
        """See :meth:`View.node`."""
        self._note(path)
        return self._tree.node(path)

    def nearest(self, path: str) -> tuple[str, Node]:
        """See :meth:`View.nearest`."""
        where, node = self._tree.nearest(path)
        self._note(path, where)
        return where, node

    def owned(self, domid: int) -> int:
        """See :meth:`View.owned`."""
        return self._live.owned[domid] + self._tree.owned[domid]

    def commit(self, change: Change) -> None:
        """Apply a change to the transaction's own view of the store."""
        if change.kind == ChangeKind.WRITE:
            self.nearest(change.path)
        self.changes.append(change)
        events = self._tree.apply(change)
        self._note(*(event.path for event in events))

    def check(self) -> None:
        """Raise EAGAIN if the transaction conflicts with the live tree; ENOMEM, ENOSPC."""
        if self._over_quota:
            raise XenstoreError(Errno.ENOMEM, "the transaction had exceeded its quota")
        for path in self._accessed:
            if _generation(self._base, path) != _generation(self._live, path):
                raise XenstoreError(Errno.EAGAIN, f"{path} has changed")
        if self._tree.owned[self._domid] > 0:
            self._limits.check(Quota.NODES, self.owned(self._domid))

    def _note(self, *accessed: str) -> None:
        """Remember what decides whether the transaction conflicts; ENOSPC, then and ever after."""
        if not self._over_quota:
            self._accessed.update(accessed)
            # Changes count too: those of one and the same node take memory like any others.
            size = max(len(self._accessed), len(self.changes))
            self._over_quota = not self._limits.allow(Quota.TRANSACTION_NODES, size)
        if self._over_quota:
            raise XenstoreError(Errno.ENOSPC, "too many nodes or changes in a transaction")


class StaleTransaction(Transaction):
    """Stands for a transaction that a restart of the store lost: it never commits."""

    def check(self) -> None:
        """Raise EAGAIN, upon which the client starts anew."""
        raise XenstoreError(Errno.EAGAIN, "the store was restarted")


def _generation(tree: Tree, path: str) -> int | None:
    node = tree.node(path)
    return None if node is None else node.generation
