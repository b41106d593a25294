"""The store for programs of the same process, which act as domain 0.

Semantics are those of the requests of the same names in docs/misc/xenstore.txt.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from xenolith.xenstore import operations
from xenolith.xenstore import path as paths
from xenolith.xenstore.database import Database
from xenolith.xenstore.journal import Journal
from xenolith.xenstore.operations import View
from xenolith.xenstore.permissions import Permission, Permissions
from xenolith.xenstore.session import Domain, Session
from xenolith.xenstore.tree import Node
from xenolith.xenstore.watch import Watch


class Nodes:
    """Nodes read and written as domain 0: the store's, or a transaction's.

    Paths are absolute or relative to /local/domain/0. Every method raises XenstoreError: EINVAL
    for a malformed path, ENOENT for an absent node, EIO if the journal cannot be written.
    """

    def __init__(self, view: View, dom0: Domain) -> None:
        self._view = view
        self._dom0 = dom0

    def read(self, path: str) -> bytes:
        """The value of a node."""
        return self._node(path).value

    def exists(self, path: str) -> bool:
        """Whether there is a node."""
        return self._view.node(self._resolve(path)) is not None

    def directory(self, path: str) -> list[str]:
        """The names of a node's children."""
        return list(self._node(path).children)

    def write(self, path: str, value: bytes | str) -> None:
        """Set the value of a node, created with its parents if need be; text becomes UTF-8."""
        data = value.encode() if isinstance(value, str) else value
        operations.write(self._view, self._dom0, self._resolve(path), data)

    def mkdir(self, path: str) -> None:
        """Create an empty node, and its parents, unless it exists."""
        operations.mkdir(self._view, self._dom0, self._resolve(path))

    def rm(self, path: str) -> None:
        """Remove a node and all below it, if it exists; its parent must."""
        operations.remove(self._view, self._dom0, self._resolve(path))

    def get_permissions(self, path: str) -> Permissions:
        """The permissions of a node: owner and default first."""
        return operations.get_permissions(self._view, self._dom0, self._resolve(path))

    def set_permissions(self, path: str, permissions: Iterable[Permission]) -> None:
        """Replace the permissions of a node, at least one; the first names the owner."""
        entries = tuple(permissions)
        operations.set_permissions(self._view, self._dom0, self._resolve(path), entries)

    def _node(self, path: str) -> Node:
        return operations.read(self._view, self._dom0, self._resolve(path))

    def _resolve(self, path: str) -> str:
        return paths.resolve(path.encode(), self._dom0.home)


class Store(Nodes):
    """The whole store.

    ``defer(call)`` has ``call()`` called soon by whoever runs the event loop: callbacks of watches
    never run inside the change that they hear of.
    """

    def __init__(self, database: Database, defer: Callable[[Callable[[], None]], None]) -> None:
        super().__init__(database, database.domains.dom0)
        self.database = database
        self._defer = defer
        self._session = Session(database.domains.dom0)
        self._session.attach(self._hear, lambda: None)
        self._callbacks: dict[bytes, Callable[[str], None]] = {}
        self._tokens = itertools.count()

    @classmethod
    def open(cls, journal: str, defer: Callable[[Callable[[], None]], None]) -> Store:
        """The store that the file ``journal`` remembers; JournalError, OSError."""
        return cls(Database(Journal(journal)), defer)

    @contextmanager
    def transaction(self) -> Iterator[Nodes]:
        """Changes that are made together, when the block ends, or not at all if it raises.

        EAGAIN if, within the block, somebody changed what the transaction had seen.
        """
        transactions = self.database.transactions
        transaction_id = transactions.start(self._session)
        try:
            yield Nodes(transactions.find(self._session, transaction_id), self._dom0)
        except BaseException:
            transactions.abandon(self._session, transaction_id)
            raise
        self.database.commit_transaction(self._session, transaction_id)

    def watch(self, path: str, callback: Callable[[str], None], depth: int | None = None) -> Watch:
        """Have ``callback(changed_path)`` called now and whenever something covered changes.

        ``depth`` limits how many levels below ``path`` are covered.
        """
        token = b"%d" % next(self._tokens)
        watch = self.database.watch(self._session, path, token, depth)
        self._callbacks[token] = callback
        watch.trigger()
        return watch

    def unwatch(self, watch: Watch) -> None:
        """End a watch; its callback is not called any more."""
        del self._callbacks[watch.token]
        self.database.unwatch(self._session, watch.shown, watch.token)

    def introduce_domain(self, domid: int) -> None:
        """Let a domain use the store, and announce it by @introduceDomain."""
        self.database.introduce(domid)

    def release_domain(self, domid: int) -> None:
        """End a domain's use of the store, and announce it by @releaseDomain; ENOENT.

        Its connection, watches, transactions, nodes and permissions go with it.
        """
        self.database.release(domid)

    def announce_shutdown(self, domid: int) -> None:
        """Announce by @releaseDomain that a domain has shut down; ENOENT."""
        self.database.shut_down(domid)

    def introduced_domains(self) -> list[int]:
        """The domids of all domains that are introduced, domain 0 excepted."""
        return [guest.domid for guest in self.database.domains.guests() if guest.introduced]

    def close(self) -> None:
        """Release the journal; the store is not used any more."""
        self.database.close()

    def _hear(self, path: str, token: bytes) -> None:
        self._defer(lambda: self._call(path, token))

    def _call(self, path: str, token: bytes) -> None:
        callback = self._callbacks.get(token)
        if callback is not None:
            callback(path)
