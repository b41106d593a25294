"""The store itself: nodes, domains and watches, and what a commit means.

Its rules are those of docs/misc/xenstore.txt. Programs of the same process use it through
:class:`xenolith.xenstore.store.Store`, others through
:class:`xenolith.xenstore.connection.Connection`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence

from xenolith.abi.errno import Errno
from xenolith.xenstore import path as paths
from xenolith.xenstore import permissions as perms
from xenolith.xenstore.change import NO_DEPTH, NODE_CHANGES, WATCH_CHANGES, Change, ChangeKind
from xenolith.xenstore.domains import DomainTable
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.journal import Journal
from xenolith.xenstore.operations import View
from xenolith.xenstore.quota import Quota
from xenolith.xenstore.session import Domain, Session
from xenolith.xenstore.transaction_table import TransactionTable
from xenolith.xenstore.tree import Event, Node, Tree
from xenolith.xenstore.watch import Watch, WatchTable

_REFIRED = 64
"""How many of the last changes before a restart are announced again: they may have been lost."""


class Database:
    """The store, as it was when its journal was last written. Not for several threads."""

    def __init__(self, journal: Journal | None) -> None:
        """JournalError, OSError if the journal cannot be read."""
        self.domains = DomainTable()
        self._journal = journal
        # So that no generation of an earlier run comes again: no run makes one each microsecond.
        self._tree = Tree.planted(itertools.count(time.time_ns() // 1000))
        self._watches = WatchTable()
        self.transactions = TransactionTable(self._tree, self._reserve_transactions)
        changes = journal.load() if journal is not None else []
        for change in changes:
            self._apply(change)
        self._recover(changes)
        if not changes:
            self.commit(Change(ChangeKind.WRITE, "/tool/xenstored"))

    def node(self, path: str) -> Node | None:
        """See :meth:`View.node`."""
        return self._tree.node(path)

    def nearest(self, path: str) -> tuple[str, Node]:
        """See :meth:`View.nearest`."""
        return self._tree.nearest(path)

    def owned(self, domid: int) -> int:
        """See :meth:`View.owned`."""
        return self._tree.owned[domid]

    def view(self, session: Session, transaction_id: int) -> View:
        """What a request sees: the store itself for id 0, else a transaction; ENOENT, ENOSPC."""
        if transaction_id == 0:
            return self
        return self.transactions.find(session, transaction_id)

    def commit(self, *changes: Change) -> None:
        """Make changes that are known to be right, all or none; EIO if they cannot be kept."""
        self._keep(changes)
        events: dict[Event, None] = {}
        for change in changes:
            events.update(dict.fromkeys(self._apply(change)))
        for event in events:
            self._watches.fire(event, self._tree)
        if self._journal is not None:
            self._journal.compact_if_due(self.state)

    def commit_transaction(self, session: Session, transaction_id: int) -> None:
        """End a transaction with its changes; EAGAIN if it conflicts, ENOENT, ENOMEM, ENOSPC."""
        changes = self.transactions.finish(session, transaction_id)
        if changes:
            self.commit(*changes)

    def watch(self, session: Session, shown: str, token: bytes, depth: int | None) -> Watch:
        """Set a watch on a path as the client writes it; EINVAL, EEXIST, E2BIG.

        The caller triggers it. A client that has lost a connection may ask again: it cannot know
        that its request had been served.
        """
        path = paths.resolve(shown.encode(), session.domain.home)
        watch = session.watches.get((path, token))
        if watch is not None:
            if not watch.unconfirmed:
                raise XenstoreError(Errno.EEXIST, f"{shown} is watched with this token")
            watch.unconfirmed = False
            return watch
        if not session.domain.limits.allow(Quota.WATCHES, len(session.watches) + 1):
            raise XenstoreError(Errno.E2BIG, "too many watches")
        watch = Watch(session, path, shown, token, depth)
        if session.durable:
            self._keep((_watch_change(session.domain, watch),))
        self._add_watch(session, watch)
        return watch

    def unwatch(self, session: Session, shown: str, token: bytes) -> None:
        """Remove a watch; EINVAL, ENOENT."""
        path = paths.resolve(shown.encode(), session.domain.home)
        if (path, token) not in session.watches:
            raise XenstoreError(Errno.ENOENT, f"{shown} is not watched with this token")
        if session.durable:
            self._keep((Change(ChangeKind.UNWATCH, shown, token, session.domain.domid),))
        self._watches.discard(session.watches.pop((path, token)))

    def reset(self, session: Session) -> None:
        """End a client's watches and transactions."""
        if session.durable and session.watches:
            self._keep((Change(ChangeKind.RESET_WATCHES, domid=session.domain.domid),))
        self._clear(session)

    def introduce(self, domid: int) -> Domain:
        """Let a domain use the store; harmless if it already may."""
        domain = self.domains.get(domid)
        if not domain.introduced:
            self.commit(Change(ChangeKind.INTRODUCE, domid=domid))
            self._watches.announce("@introduceDomain", domid, self._tree)
        return domain

    def release(self, domid: int) -> None:
        """Forget a domain, its nodes and what others granted it; ENOENT, EINVAL for domain 0."""
        domain = self.domains.introduced(domid)
        if domain.privileged:
            raise XenstoreError(Errno.EINVAL, "domain 0 stays")
        self.commit(*self._farewell(domid), Change(ChangeKind.RELEASE, domid=domid))
        domain.session.end()
        self._watches.announce("@releaseDomain", domid, self._tree)

    def shut_down(self, domid: int) -> None:
        """Tell watchers that a domain has shut down, once until it resumes; ENOENT."""
        domain = self.domains.introduced(domid)
        if not domain.shut_down:
            domain.shut_down = True
            self._watches.announce("@releaseDomain", domid, self._tree)

    def resume(self, domid: int) -> None:
        """Let the next shutdown of a domain be announced again; ENOENT."""
        self.domains.introduced(domid).shut_down = False

    def state(self) -> Iterator[Change]:
        """Yield changes that lead from an empty store to the present state."""
        yield Change(ChangeKind.RESERVE_TRANSACTIONS, number=self.transactions.reserved)
        yield from self._tree.state()
        yield from self.domains.state()
        for domain in self.domains.guests():
            for watch in domain.session.watches.values():
                yield _watch_change(domain, watch)

    def check(self) -> None:
        """Verify the store's own books; EIO if they are wrong."""
        owned: dict[int, int] = {}
        for node in self._tree.nodes():
            owner = node.permissions[0].domid
            owned[owner] = owned.get(owner, 0) + 1
        booked = {domid: count for domid, count in self._tree.owned.items() if count}
        if owned != booked:
            raise XenstoreError(Errno.EIO, f"{booked} nodes are booked, {owned} exist")

    def close(self) -> None:
        """Release the journal; the store is not used any more."""
        if self._journal is not None:
            self._journal.close()

    def _keep(self, changes: Sequence[Change]) -> None:
        if self._journal is not None:
            try:
                self._journal.append(changes)
            except OSError as error:
                raise XenstoreError(Errno.EIO, f"{error.filename}: {error.strerror}") from error

    def _reserve_transactions(self, end: int) -> None:
        self._keep((Change(ChangeKind.RESERVE_TRANSACTIONS, number=end),))

    def _apply(self, change: Change) -> Sequence[Event]:
        """Make a change, from a commit or from the journal."""
        if change.kind in NODE_CHANGES:
            return self._tree.apply(change)
        if change.kind == ChangeKind.RESERVE_TRANSACTIONS:
            self.transactions.restart_at(change.number)
        elif change.kind in WATCH_CHANGES:
            self._apply_to_watches(change)
        else:
            if change.kind == ChangeKind.RELEASE:
                self._clear(self.domains.get(change.domid).session)
            self.domains.apply(change)
        return ()

    def _apply_to_watches(self, change: Change) -> None:
        """Make a change of a domain's watches that the journal has kept."""
        kind, shown, token, domid, number = change
        session = self.domains.get(domid).session
        if kind == ChangeKind.RESET_WATCHES:
            self._clear(session)
            return
        path = paths.resolve(shown.encode(), session.domain.home)
        if kind == ChangeKind.WATCH:
            depth = None if number == NO_DEPTH else number
            self._add_watch(session, Watch(session, path, shown, token, depth))
        else:
            self._watches.discard(session.watches.pop((path, token)))

    def _add_watch(self, session: Session, watch: Watch) -> None:
        session.watches[watch.path, watch.token] = watch
        self._watches.add(watch)

    def _clear(self, session: Session) -> None:
        session.transactions.clear()
        for watch in session.watches.values():
            self._watches.discard(watch)
        session.watches.clear()

    def _recover(self, changes: Sequence[Change]) -> None:
        """Have the watches that came back hear of what a restart may have kept from them."""
        for domain in self.domains.guests():
            domain.session.detach()
        for change in changes[-_REFIRED:]:
            if change.kind in NODE_CHANGES:
                self._watches.fire(Event(change.path, False, ()), self._tree)

    def _farewell(self, domid: int) -> Iterator[Change]:
        """Yield what the end of a domain changes: its nodes go, and permissions about it."""
        gone = ""
        for path, node, _ in self._tree.walk():
            if gone and path.startswith(gone):
                continue
            if node.permissions[0].domid == domid and path != "/":
                gone = f"{path}/"
                yield Change(ChangeKind.REMOVE, path)
            elif perms.mentions(node.permissions, domid):
                rest = perms.render(perms.without(node.permissions, domid))
                yield Change(ChangeKind.SET_PERMISSIONS, path, rest)
        for path, node in self._tree.specials():
            if perms.mentions(node.permissions, domid):
                rest = perms.render(perms.without(node.permissions, domid))
                yield Change(ChangeKind.SET_PERMISSIONS, path, rest)


def _watch_change(domain: Domain, watch: Watch) -> Change:
    depth = NO_DEPTH if watch.depth is None else watch.depth
    return Change(ChangeKind.WATCH, watch.shown, watch.token, domain.domid, depth)
