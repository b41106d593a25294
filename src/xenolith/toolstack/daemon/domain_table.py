"""All domains of the daemon, and what became of those that ended a while ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from xenolith.toolstack.config import domain_name
from xenolith.toolstack.daemon import domain_files
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.records import DomainEnd

FIRST_RESERVED = 0x7FF0
"""DOMID_FIRST_RESERVED of public/xen.h."""

DOM0_NAME = "Domain-0"

_ENDS_KEPT = 1000


class DomainTable:
    """Domains by domid and by name. Domids rise, and come again only after all have been used."""

    def __init__(self) -> None:
        self._domains: dict[int, Domain] = {}
        self._ends: OrderedDict[int, DomainEnd] = OrderedDict()
        self._last_domid = domain_files.last_domid()

    def __iter__(self) -> Iterator[Domain]:
        return iter(sorted(self._domains.values(), key=lambda domain: domain.domid))

    def new_domid(self) -> int:
        """A domid that is free; DaemonError if none is, OSError."""
        for step in range(1, FIRST_RESERVED):
            domid = (self._last_domid + step - 1) % (FIRST_RESERVED - 1) + 1
            if domid not in self._domains:
                self._last_domid = domid
                domain_files.save_last_domid(domid)
                return domid
        raise DaemonError("All domain numbers are in use")

    def add(self, domain: Domain) -> None:
        """Enter a domain whose domid is free and whose name has been checked."""
        self._domains[domain.domid] = domain
        self._ends.pop(domain.domid, None)

    def remove(self, domain: Domain) -> None:
        """Forget a domain."""
        del self._domains[domain.domid]

    def remember(self, end: DomainEnd) -> None:
        """Keep for a while how a domain ended."""
        self._ends[end.domid] = end
        while len(self._ends) > _ENDS_KEPT:
            self._ends.popitem(last=False)

    def end_of(self, domid: int) -> DomainEnd | None:
        """How a domain ended that is not there any more; None if that is not known."""
        return self._ends.get(domid)

    def by_domid(self, domid: int) -> Domain:
        """A domain; DaemonError if there is none."""
        if domid == 0:
            raise DaemonError(f"{DOM0_NAME} is the host itself, not a domain to act on")
        domain = self._domains.get(domid)
        if domain is None:
            raise DaemonError(f"Domain {domid} does not exist")
        return domain

    def by_name(self, name: str) -> Domain | None:
        """The domain of this name, if there is one."""
        return next((domain for domain in self if domain.name == name), None)

    def check_uuid(self, uuid: str) -> None:
        """DaemonError if a domain has this UUID already."""
        for domain in self:
            if domain.config.uuid == uuid:
                raise DaemonError(f"Domain {domain.name} has the same UUID {uuid}")

    def check_name(self, name: str) -> None:
        """DaemonError unless a domain may get this name."""
        fault = domain_name.fault(name)
        if fault is not None:
            raise DaemonError(f"This cannot be the name of a domain: {fault}")
        if name == DOM0_NAME:
            raise DaemonError(f"{DOM0_NAME} is the name of the host itself")
        holder = self.by_name(name)
        if holder is not None:
            raise DaemonError(f"Domain {name} exists already, with domid {holder.domid}")
