"""Pages of device registers in the emulated machine: loads and stores become calls of a handler."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_void_p

from xenolith.engine.hvm import MmioHandler
from xenolith.engine.unicorn.library import Library, MmioRead, MmioWrite
from xenolith.machine.address import PAGE_SIZE


class MmioPages:
    """Keeps the callbacks of device pages; ``failed`` takes what a handler raises, ``stored`` follows a store."""

    def __init__(
        self,
        library: Library,
        failed: Callable[[BaseException], None],
        stored: Callable[[], None],
    ) -> None:
        self._library = library
        self._failed = failed
        self._stored = stored
        self._callbacks: list[object] = []

    def map(self, handle: c_void_p, address: int, handler: MmioHandler) -> None:
        """Put a page at an address where nothing is mapped."""

        def read(_machine: int, offset: int, size: int, _data: int) -> int:
            try:
                return handler.read(offset, size)
            except BaseException as failure:
                self._failed(failure)
                return 0

        def write(_machine: int, offset: int, size: int, value: int, _data: int) -> None:
            try:
                handler.write(offset, size, value)
            except BaseException as failure:
                self._failed(failure)
            self._stored()

        callbacks = MmioRead(read), MmioWrite(write)
        self._callbacks.append(callbacks)
        self._library.check(
            self._library.mmio_map(
                handle, address, PAGE_SIZE, callbacks[0], None, callbacks[1], None
            ),
            "map device registers",
        )


class Void:
    """What real hardware answers where nothing is: all ones, and stores go nowhere."""

    def read(self, _offset: int, size: int) -> int:
        """All ones."""
        return (1 << 8 * size) - 1

    def write(self, _offset: int, _size: int, _value: int) -> None:
        """Nothing."""
