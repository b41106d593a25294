"""Opens machines of the library, and gives back the memory of the code that they have translated.

While it boots a guest runs more code than ever again, and the library keeps all of it translated until its buffer
is full. The buffer is looked for where a process sees its own maps, before it is jailed, so a machine is opened
ahead for whoever is forked from there.
"""

from __future__ import annotations

import ctypes
import mmap
from ctypes import c_int, c_size_t, c_void_p

from xenolith.engine.unicorn.library import CTL_TB_FLUSH, CTL_TCG_BUFFER_SIZE, Library

_BUFFER_BYTES = 48 << 20
"""All that Debian's kernel and its user space run until there is a prompt: 33 MiB."""

_KEPT_BYTES = 2 << 20
"""At its start the buffer holds the code that enters all other; a huge page of the host."""

_libc = ctypes.CDLL(None)
_libc.madvise.argtypes = [c_void_p, c_size_t, c_int]
_libc.malloc_trim.argtypes = [c_size_t]


class OpenedMachine:
    """A machine and its code buffer."""

    def __init__(self, library: Library) -> None:
        self._library = library
        before = _executable_maps()
        self.handle = library.open()
        library.check(
            library.uc_ctl(self.handle, CTL_TCG_BUFFER_SIZE, _BUFFER_BYTES), "size its buffer"
        )
        # The first thing done with a machine makes its processor and its buffer.
        self._flush()
        self.cpu: int = library.get_cpu(self.handle, -1)
        found = [
            (start, end)
            for start, end in _executable_maps() - before
            if _BUFFER_BYTES // 2 < end - start <= _BUFFER_BYTES
        ]
        self._buffer = found[0] if len(found) == 1 else None

    def forget_code(self) -> None:
        """Forget all translated code, and give its memory back to the host; not while the machine runs."""
        self._flush()
        if self._buffer is not None:
            start, end = self._buffer
            # The buffer is the library's until the machine is closed, and empty now: it is filled
            # from its start, and what is not there reads as zeroes.
            _libc.madvise(start + _KEPT_BYTES, end - start - _KEPT_BYTES, mmap.MADV_DONTNEED)
        # What the library knew of each block.
        _libc.malloc_trim(0)

    def _flush(self) -> None:
        self._library.check(self._library.uc_ctl(self.handle, CTL_TB_FLUSH), "flush its code")


_opened_ahead: list[OpenedMachine] = []


def open_ahead(library: Library) -> None:
    """Open a machine for the first :func:`open_machine` of each process that is forked from this one."""
    _opened_ahead.append(OpenedMachine(library))


def open_machine(library: Library) -> OpenedMachine:
    """A machine that the caller closes."""
    return _opened_ahead.pop() if _opened_ahead else OpenedMachine(library)


def _executable_maps() -> set[tuple[int, int]]:
    """Start and end of what this process may write and execute; nothing where it must not look."""
    try:
        with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
            lines = [line.split(maxsplit=2) for line in maps]
    except OSError:
        return set()
    return {
        (int(start, 16), int(end, 16))
        for span, permissions, _ in lines
        if permissions == "rwxp"
        for start, end in [span.split("-")]
    }
