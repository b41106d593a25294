"""The failure of one grant operation, which is not the failure of the hypercall that asked for it.

The statuses are the GNTST_* values of public/grant_table.h.
"""

from __future__ import annotations

from xenolith.abi.grant_table import GrantStatus


class GrantError(Exception):
    """A grant could not be used; ``status`` is what Xen tells the one who tried."""

    def __init__(self, status: GrantStatus, why: str) -> None:
        super().__init__(f"{status.name}: {why}")
        self.status = status
