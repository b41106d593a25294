"""Reading and changing nodes on behalf of a domain: permissions, quotas, errors.

Follows docs/misc/xenstore.txt; where it is silent, xenstored. Each function works on a view, which
is the store itself or a transaction.
"""

from __future__ import annotations

from typing import Protocol

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import LaterServerFeature
from xenolith.xenstore import path as paths
from xenolith.xenstore import permissions as perms
from xenolith.xenstore.change import Change, ChangeKind
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.permissions import Permissions
from xenolith.xenstore.quota import Quota
from xenolith.xenstore.session import Domain
from xenolith.xenstore.tree import Node

_PERMISSION_SIZE = 8


class View(Protocol):
    """A state of the nodes that can be looked at and changed."""

    def node(self, path: str) -> Node | None:
        """The node at an absolute path."""

    def nearest(self, path: str) -> tuple[str, Node]:
        """The lowest existing node on the way to ``path``, and its path."""

    def owned(self, domid: int) -> int:
        """How many nodes a domain owns."""

    def commit(self, change: Change) -> None:
        """Make a change of nodes that is known to be right."""


def read(view: View, domain: Domain, path: str) -> Node:
    """The node at ``path``, for its value or children; ENOENT, EACCES."""
    _refuse_special(path)
    return _existing(view, domain, path, perms.READ)


def write(view: View, domain: Domain, path: str, value: bytes) -> None:
    """Set the value of a node, created with its parents if need be; EACCES, ENOSPC."""
    _refuse_special(path)
    node = _find(view, domain, path, perms.WRITE)
    if not domain.privileged:
        _check_quota(view, domain, path, node, value)
    view.commit(Change(ChangeKind.WRITE, path, value, domain.domid))


def mkdir(view: View, domain: Domain, path: str) -> None:
    """Create a node unless it exists; EACCES, ENOSPC."""
    _refuse_special(path)
    if _find(view, domain, path, perms.WRITE) is None:
        write(view, domain, path, b"")


def remove(view: View, domain: Domain, path: str) -> None:
    """Remove a node and all below it, if it exists; ENOENT if its parent does not, EACCES."""
    _refuse_special(path)
    if path == "/":
        raise XenstoreError(Errno.EINVAL, "the root stays")
    if _find(view, domain, path, perms.WRITE) is not None:
        view.commit(Change(ChangeKind.REMOVE, path))
    elif view.node(paths.parent(path)) is None:
        raise XenstoreError(Errno.ENOENT, path)


def get_permissions(view: View, domain: Domain, path: str) -> Permissions:
    """The permissions of a node or a special path; ENOENT, EACCES."""
    return _existing(view, domain, path, perms.READ).permissions


def set_permissions(view: View, domain: Domain, path: str, permissions: Permissions) -> None:
    """Replace a node's permissions, as its owner or domain 0; ENOENT, EACCES, EPERM, ENOSPC."""
    domain.limits.check(Quota.NODE_PERMISSIONS, len(permissions))
    if not domain.features & LaterServerFeature.DOMID_ANY and perms.mentions(
        permissions, perms.DOMID_ANY
    ):
        raise XenstoreError(Errno.EINVAL, "the domain has not the feature DOMID_ANY")
    node = _existing(view, domain, path, perms.WRITE | perms.OWNER)
    if not domain.privileged and permissions[0].domid != node.permissions[0].domid:
        raise XenstoreError(Errno.EPERM, "only domain 0 gives nodes away")
    view.commit(Change(ChangeKind.SET_PERMISSIONS, path, perms.render(permissions)))


def _refuse_special(path: str) -> None:
    if paths.is_special(path):
        raise XenstoreError(Errno.EINVAL, f"{path} has permissions and watches only")


def _existing(view: View, domain: Domain, path: str, access: int) -> Node:
    node = _find(view, domain, path, access)
    if node is None:
        raise XenstoreError(Errno.ENOENT, path)
    return node


def _find(view: View, domain: Domain, path: str, access: int) -> Node | None:
    """The node, None if there is none, or EACCES.

    Whether a node exists is told only to those whom the node above it grants some of ``access``.
    """
    node = view.node(path)
    if node is not None:
        if not domain.may(access, node.permissions):
            raise XenstoreError(Errno.EACCES, path)
    elif not domain.privileged:
        _, above = view.nearest(path)
        if not perms.granted(above.permissions, domain.domid, domain.target) & access:
            raise XenstoreError(Errno.EACCES, path)
    return node


def _check_quota(view: View, domain: Domain, path: str, node: Node | None, value: bytes) -> None:
    if node is not None:
        _check_size(domain, node, len(value))
        return
    where, above = view.nearest(path)
    missing = paths.names(path)[len(paths.names(where)) :]
    domain.limits.check(Quota.NODES, view.owned(domain.domid) + len(missing))
    _check_size(domain, above, len(above.value) + len(missing[0]) + 1)
    permissions_size = _PERMISSION_SIZE * len(above.permissions)
    domain.limits.check(Quota.NODE_SIZE, permissions_size + len(value))


def _check_size(domain: Domain, node: Node, size: int) -> None:
    children_size = sum(map(len, node.children)) + len(node.children)
    permissions_size = _PERMISSION_SIZE * len(node.permissions)
    domain.limits.check(Quota.NODE_SIZE, permissions_size + children_size + size)
