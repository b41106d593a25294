"""What each request of the wire protocol does, by message type.

The requests of docs/misc/xenstore.txt; what is in no table is answered ENOSYS.
"""

from __future__ import annotations

from collections.abc import Mapping

from xenolith.xenstore.requests.caller import Caller, Handler
from xenolith.xenstore.requests.domains import DOMAIN_HANDLERS, PRIVILEGED
from xenolith.xenstore.requests.nodes import NODE_HANDLERS

HANDLERS: Mapping[int, Handler] = {**NODE_HANDLERS, **DOMAIN_HANDLERS}

__all__ = ["HANDLERS", "PRIVILEGED", "Caller"]
