"""The domains that the store knows, and the changes that concern a domain as such.

INTRODUCE, RELEASE, SET_TARGET, SET_FEATURE and SET_QUOTA of docs/misc/xenstore.txt.
"""

from __future__ import annotations

from collections.abc import Iterator

from xenolith.abi.errno import Errno
from xenolith.xenstore.change import ALL_DOMAINS, Change, ChangeKind
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.quota import DEFAULTS, Limits, Quota
from xenolith.xenstore.session import FEATURES, Domain


class DomainTable:
    """Domains by domid; one appears when it is first mentioned, before its introduction even."""

    def __init__(self) -> None:
        self.defaults = Limits(DEFAULTS)
        self.dom0 = Domain(0, Limits.none())
        self.dom0.introduced = True
        self._domains = {0: self.dom0}

    def get(self, domid: int) -> Domain:
        """A domain, introduced or not yet."""
        domain = self._domains.get(domid)
        if domain is None:
            domain = self._domains[domid] = Domain(domid, self.defaults.copy())
        return domain

    def is_introduced(self, domid: int) -> bool:
        """Whether a domain has been introduced and not released since."""
        return domid in self._domains and self._domains[domid].introduced

    def introduced(self, domid: int) -> Domain:
        """A domain that has been introduced; ENOENT for others."""
        if not self.is_introduced(domid):
            raise XenstoreError(Errno.ENOENT, f"domain {domid} is not introduced")
        return self._domains[domid]

    def guests(self) -> Iterator[Domain]:
        """Yield every domain but domain 0."""
        return (domain for domain in self._domains.values() if not domain.privileged)

    def limits(self, domid: int) -> Limits:
        """The limits of a domain, or for ALL_DOMAINS the defaults."""
        return self.defaults if domid == ALL_DOMAINS else self.get(domid).limits

    def apply(self, change: Change) -> None:
        """Make a change of the five kinds that concern domains."""
        if change.kind == ChangeKind.INTRODUCE:
            self.get(change.domid).introduced = True
        elif change.kind == ChangeKind.RELEASE:
            self._release(change.domid)
        elif change.kind == ChangeKind.SET_TARGET:
            self.get(change.domid).target = change.number
        elif change.kind == ChangeKind.SET_FEATURES:
            self.get(change.domid).features = change.number
        else:
            self.limits(change.domid)[Quota(change.path)] = change.number

    def state(self) -> Iterator[Change]:
        """Yield changes that lead from a new table to this one."""
        for quota, limit in self.defaults.items():
            if limit != DEFAULTS[quota]:
                yield Change(ChangeKind.SET_QUOTA, quota, domid=ALL_DOMAINS, number=limit)
        for domain in self.guests():
            domid = domain.domid
            for quota, limit in domain.limits.items():
                if limit != self.defaults[quota]:
                    yield Change(ChangeKind.SET_QUOTA, quota, domid=domid, number=limit)
            if domain.features != FEATURES:
                yield Change(ChangeKind.SET_FEATURES, domid=domid, number=domain.features)
            if domain.introduced:
                yield Change(ChangeKind.INTRODUCE, domid=domid)
            if domain.target is not None:
                yield Change(ChangeKind.SET_TARGET, domid=domid, number=domain.target)

    def _release(self, domid: int) -> None:
        self._domains.pop(domid, None)
        for domain in self._domains.values():
            if domain.target == domid:
                domain.target = None
