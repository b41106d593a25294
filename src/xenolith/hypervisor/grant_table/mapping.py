"""A granted frame in a backend's hands.

What GNTTABOP_map_grant_ref is to a backend in domain 0, :meth:`GrantTable.map` is to one here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from xenolith.hypervisor.grant_table.active import ActiveEntry


class GrantMapping:
    """``view`` is the frame, of 4096 bytes, until :meth:`unmap` or the end of the with block.

    The guest may write the frame at any time between two pieces of the backend's work: what is
    read from it is copied, then validated, then used.
    """

    __slots__ = ("_active", "_readonly", "_unpin", "view")

    def __init__(
        self,
        frame: memoryview,
        active: ActiveEntry,
        readonly: bool,
        unpin: Callable[[ActiveEntry, bool], None],
    ) -> None:
        self.view = frame.toreadonly() if readonly else frame
        self._active: ActiveEntry | None = active
        self._readonly = readonly
        self._unpin = unpin

    def unmap(self) -> None:
        """Give the frame back to the guest; the view is dead afterwards. Harmless if repeated."""
        if self._active is not None:
            self.view.release()
            self._unpin(self._active, self._readonly)
            self._active = None

    def __enter__(self) -> GrantMapping:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unmap()
