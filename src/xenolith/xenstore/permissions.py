"""Who may do what with a node: its owner and default, then a list of exceptions.

Follows docs/misc/xenstore.txt: the first entry names the owner, who may do everything, and the
access of all domains that no later entry names.
"""

from __future__ import annotations

from typing import NamedTuple

from xenolith.abi.errno import Errno
from xenolith.xenstore.errors import XenstoreError

# Plain integers: an IntFlag's operators would dominate the cost of a check.
NONE = 0
READ = 1
WRITE = 2
OWNER = 4
FULL = READ | WRITE | OWNER

DOMID_ANY = 0x7FF5
"""In an entry, stands for every domain (public/xen.h since Xen 4.22)."""

_DOMID_MAX = 0xFFFF
_LETTERS = {ord("n"): NONE, ord("r"): READ, ord("w"): WRITE, ord("b"): READ | WRITE}
_LETTER_OF = {access: chr(letter) for letter, access in _LETTERS.items()}


class Permission(NamedTuple):
    """One entry: a domain and its access."""

    domid: int
    access: int


Permissions = tuple[Permission, ...]
"""A node's entries, at least one: the owner's comes first."""

DOM0_ONLY: Permissions = (Permission(0, NONE),)
DOM0_READABLE: Permissions = (Permission(0, NONE), Permission(DOMID_ANY, READ))


def granted(permissions: Permissions, domid: int, target: int | None) -> int:
    """The access of a domain that also acts for ``target``, if it has one."""
    for index, (holder, access) in enumerate(permissions):
        if holder in (domid, DOMID_ANY) or (target is not None and holder == target):
            return access if index else FULL
    return permissions[0].access


def inherited(permissions: Permissions, creator: int) -> Permissions:
    """The permissions of a node created below one that has ``permissions``.

    Whoever creates it owns it, but domain 0 creates on behalf of the parent's owner.
    """
    owner, access = permissions[0]
    if creator in (0, owner):
        return permissions
    return (Permission(creator, access), *permissions[1:])


def without(permissions: Permissions, domid: int) -> Permissions:
    """The permissions left when a domain ceases to exist; what it owned falls to domain 0."""
    owner = permissions[0]
    if owner.domid == domid:
        owner = Permission(0, owner.access)
    return (owner, *(entry for entry in permissions[1:] if entry.domid != domid))


def mentions(permissions: Permissions, domid: int) -> bool:
    """Whether any entry is about a domain."""
    return any(entry.domid == domid for entry in permissions)


def parse(entries: list[bytes]) -> Permissions:
    """Read entries such as b"r5"; EINVAL unless there is at least one and all are well-formed."""
    if not entries:
        raise XenstoreError(Errno.EINVAL, "no permissions")
    return tuple(_parse_one(entry) for entry in entries)


def _parse_one(entry: bytes) -> Permission:
    digits = entry[1:]
    if not entry or entry[0] not in _LETTERS or not digits.isdigit() or len(digits) > 5:
        raise XenstoreError(Errno.EINVAL, f"malformed permission {entry[:20]!r}")
    domid = int(digits)
    if domid > _DOMID_MAX:
        raise XenstoreError(Errno.EINVAL, f"no domain {domid}")
    return Permission(domid, _LETTERS[entry[0]])


def render(permissions: Permissions) -> bytes:
    """The entries as the wire has them, each with its NUL."""
    return "".join(f"{_LETTER_OF[entry.access]}{entry.domid}\0" for entry in permissions).encode()
