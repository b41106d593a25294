"""The transactions that are open, and ids that survive a restart of the store.

TRANSACTION_START and TRANSACTION_END of docs/misc/xenstore.txt. A restart loses transactions, which
their clients must not take for success: a guest that ends one is told to try again (EAGAIN).
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi.errno import Errno
from xenolith.xenstore.change import Change
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.quota import Quota
from xenolith.xenstore.session import Session
from xenolith.xenstore.transaction import StaleTransaction, Transaction
from xenolith.xenstore.tree import Tree

_ID_BLOCK = 4096
_ID_END = 1 << 32


class TransactionTable:
    """Opens and ends the transactions of all sessions.

    ``reserve(end)`` must let later runs know that ids below ``end`` may be in use.
    """

    def __init__(self, live: Tree, reserve: Callable[[int], None]) -> None:
        self.reserved = 1
        """No id from here on has been given out, by this run or an earlier one."""
        self._live = live
        self._reserve = reserve
        self._first = self._next = 1

    def restart_at(self, end: int) -> None:
        """Learn that an earlier run may have given out the ids below ``end``."""
        self._first = self._next = self.reserved = end

    def start(self, session: Session) -> int:
        """Begin a transaction and return its id; ENOSPC."""
        transaction_id = self._take()
        while transaction_id in session.transactions:
            transaction_id = self._take()
        self._open(session, transaction_id, Transaction)
        return transaction_id

    def find(self, session: Session, transaction_id: int) -> Transaction:
        """The open transaction of an id; ENOENT, or ENOSPC for one that a restart lost."""
        found = session.transactions.get(transaction_id)
        if found is not None:
            return found
        if session.durable and 0 < transaction_id < self._first:
            return self._open(session, transaction_id, StaleTransaction)
        raise XenstoreError(Errno.ENOENT, f"no transaction {transaction_id}")

    def abandon(self, session: Session, transaction_id: int) -> None:
        """End a transaction without its changes; ENOENT."""
        self.find(session, transaction_id)
        del session.transactions[transaction_id]

    def finish(self, session: Session, transaction_id: int) -> list[Change]:
        """End a transaction; return the changes to commit.

        EAGAIN if it conflicts, ENOENT, ENOMEM, ENOSPC; it has ended in any case.
        """
        transaction = self.find(session, transaction_id)
        del session.transactions[transaction_id]
        transaction.check()
        return transaction.changes

    def _open(self, session: Session, transaction_id: int, kind: type[Transaction]) -> Transaction:
        domain = session.domain
        domain.limits.check(Quota.TRANSACTIONS, len(session.transactions) + 1)
        opened = kind(self._live, domain.domid, domain.limits)
        session.transactions[transaction_id] = opened
        return opened

    def _take(self) -> int:
        if self._next >= self.reserved:
            if self._next >= _ID_END - _ID_BLOCK:
                self._next = 1
            # Known to later runs before the first of them is given out.
            self._reserve(self._next + _ID_BLOCK)
            self.reserved = self._next + _ID_BLOCK
        self._next += 1
        return self._next - 1
