"""The backend of network interfaces (public/io/netif.h): what Linux's netback is to Xen.

``VifBackend`` serves one interface over xenbus. Each of its queues has a ``Transmitter`` and a
``Receiver``, which turn slots into frames and back; an ``Attachment`` carries frames between them and
a ``Line``, a wire of xenolith.net, and counts, limits and captures them. All of it runs in the
hypervisor thread, but for the line's reading ahead.
"""

from xenolith.backends.net.attachment import Attachment, token_bucket
from xenolith.backends.net.line import Line
from xenolith.backends.net.vif import VifBackend

__all__ = ["Attachment", "Line", "VifBackend", "token_bucket"]
