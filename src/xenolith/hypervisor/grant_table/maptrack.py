"""The handles by which a guest names the grants that it has mapped.

The counterpart of struct grant_mapping and the maptrack frames in Xen's common/grant_table.c.
"""

from __future__ import annotations

from typing import NamedTuple

from xenolith.abi.grant_table import GNTMAP_host_map, GrantStatus
from xenolith.hypervisor.grant_table.active import ActiveEntry, Granter
from xenolith.hypervisor.grant_table.errors import GrantError

_MAX_HANDLES = 1024 * 256
"""Xen's default of 1024 maptrack frames, with 256 handles each."""


class TrackedMapping(NamedTuple):
    """A pin of a grant that the guest holds by mapping it."""

    granter: Granter
    active: ActiveEntry
    readonly: bool
    flags: int = GNTMAP_host_map
    """GNTMAP_*: how it is mapped."""


class Maptrack:
    """Mappings by handle; the handles in use and in ``_free`` together are 0 to some number."""

    def __init__(self) -> None:
        self._mappings: dict[int, TrackedMapping] = {}
        self._free: list[int] = []

    def check_room(self) -> None:
        """GrantError(no_space) if all handles are in use."""
        if len(self._mappings) >= _MAX_HANDLES:
            raise GrantError(GrantStatus.no_space, "all handles are in use")

    def add(self, mapping: TrackedMapping) -> int:
        """Return the handle of a new mapping."""
        handle = self._free.pop() if self._free else len(self._mappings)
        self._mappings[handle] = mapping
        return handle

    def __getitem__(self, handle: int) -> TrackedMapping:
        """The mapping of a handle; GrantError(bad_handle) if it names none."""
        mapping = self._mappings.get(handle)
        if mapping is None:
            raise GrantError(GrantStatus.bad_handle, f"there is no handle {handle:#x}")
        return mapping

    def change(self, handle: int, mapping: TrackedMapping) -> None:
        """A handle in use stands for another mapping."""
        self._mappings[handle] = mapping

    def remove(self, handle: int) -> None:
        """Free a handle that is in use."""
        del self._mappings[handle]
        self._free.append(handle)
