"""What one domain may use of the store.

Names and defaults are those of xenstored's quotas (docs/misc/xenstore.txt, GET_QUOTA); zero means
no limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import XENSTORE_REL_PATH_MAX
from xenolith.xenstore.errors import XenstoreError


class Quota(StrEnum):
    """What is limited."""

    NODES = "nodes"
    WATCHES = "watches"
    OUTSTANDING = "outstanding"
    TRANSACTIONS = "transactions"
    TRANSACTION_NODES = "transaction-nodes"
    NODE_PERMISSIONS = "node-permissions"
    PATH_MAX = "path-max"
    NODE_SIZE = "node-size"


DEFAULTS: Mapping[Quota, int] = {
    Quota.NODES: 1000,
    Quota.WATCHES: 128,
    Quota.OUTSTANDING: 20,
    Quota.TRANSACTIONS: 10,
    Quota.TRANSACTION_NODES: 1024,
    Quota.NODE_PERMISSIONS: 5,
    Quota.PATH_MAX: XENSTORE_REL_PATH_MAX,
    Quota.NODE_SIZE: 2048,
}


class Limits:
    """The limits of one domain, or the defaults for domains to come."""

    def __init__(self, values: Mapping[Quota, int]) -> None:
        self._values = dict(values)

    @classmethod
    def none(cls) -> Limits:
        """The limits of domain 0."""
        return cls(dict.fromkeys(Quota, 0))

    def copy(self) -> Limits:
        """Limits that start as these and change on their own."""
        return Limits(self._values)

    def __getitem__(self, quota: Quota) -> int:
        return self._values[quota]

    def __setitem__(self, quota: Quota, limit: int) -> None:
        self._values[quota] = limit

    def items(self) -> list[tuple[Quota, int]]:
        """Every quota and its limit."""
        return list(self._values.items())

    def allow(self, quota: Quota, amount: int) -> bool:
        """Whether ``amount`` is within the limit."""
        limit = self._values[quota]
        return limit == 0 or amount <= limit

    def check(self, quota: Quota, amount: int) -> None:
        """Raise ENOSPC if ``amount`` exceeds the limit."""
        if not self.allow(quota, amount):
            raise XenstoreError(Errno.ENOSPC, f"quota {quota}: {amount}")


def quota_named(name: bytes) -> Quota:
    """The quota of a name on the wire; EINVAL if there is none."""
    try:
        return Quota(name.decode("ascii"))
    except ValueError:
        raise XenstoreError(Errno.EINVAL, f"no quota {name[:40]!r}") from None
