"""A xenstore for domains of tests: the real server on a thread of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from xenolith.machine.event_loop import EventLoop
from xenolith.toolstack.xenstore_relay import XenstoreRelay
from xenolith.xenstore.permissions import NONE, READ, Permission
from xenolith.xenstore.server import Server
from xenolith.xenstore.store import Store

from .harness import GuestDomain


@contextmanager
def xenstore(domain: GuestDomain, directory: Path, nodes: Mapping[str, str]) -> Iterator[None]:
    """Serve a domain that has not been started yet; ``nodes`` are below its home."""
    loop = EventLoop()
    store = Store.open(str(directory / "journal"), loop.post)
    server = Server(loop, store)
    store.introduce_domain(domain.domid)
    for path, value in nodes.items():
        node = f"/local/domain/{domain.domid}/{path}"
        store.write(node, value)
        store.set_permissions(node, [Permission(0, NONE), Permission(domain.domid, READ)])
    relay = XenstoreRelay(loop, domain.machine.xenstore, domain.machine.post)
    domain.on_xenstore = relay.on_activity
    ours, theirs = socket.socketpair()
    server.attach_domain(domain.domid, theirs)
    relay.connect(ours)
    thread = threading.Thread(target=loop.run, name="xenstore")
    thread.start()
    try:
        yield
    finally:
        loop.post(loop.stop)
        thread.join()
        ours.close()
        server.close()
        loop.close()
