"""The end of an event channel that a backend in this process holds, as domain 0's driver would.

It stays valid whatever the guest does to its own end: once that is closed, nothing is heard.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.hypervisor.event_channel.channel import Channel, Notify


class BackendPort:
    """The other end of the guest's port ``port``."""

    def __init__(
        self,
        channel: Channel,
        notify: Notify,
        raise_event: Callable[[Channel], None],
        unbind: Callable[[Channel], None],
    ) -> None:
        self.port = channel.port
        self._channel = channel
        self._notify = notify
        self._raise_event = raise_event
        self._unbind = unbind
        self._remote_port = channel.remote_port

    @property
    def is_bound(self) -> bool:
        """Whether the guest still has its end open."""
        # The port may since have been closed and bound again, even to the same callable.
        channel = self._channel
        return channel.notify is self._notify and channel.remote_port == self._remote_port

    def notify(self) -> None:
        """Raise the guest's port; dropped once the guest has closed it."""
        if self.is_bound:
            self._raise_event(self._channel)

    def close(self) -> None:
        """Leave the guest's port unbound, for domain 0 to bind again; harmless when repeated."""
        if self.is_bound:
            self._unbind(self._channel)
