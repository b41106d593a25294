"""The host's time stamp counter, which Python cannot read: RDTSC in a page of machine code."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from functools import cache

_READ_TSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")
"""rdtsc; shl rdx, 32; or rax, rdx; ret"""


@cache
def tsc_reader() -> Callable[[], int]:
    """A function that returns the counter."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_READ_TSC)
    # The page is part of the result, and never closed.
    code = ctypes.c_char.from_buffer(page)
    function = ctypes.PYFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(code))
    function.page = page, code  # type: ignore[attr-defined]
    return function
