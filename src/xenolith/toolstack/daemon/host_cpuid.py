"""The host CPU's CPUID, for the feature words that Xen shows as ``hw_caps``.

Only the processor itself tells them to everybody, so a few bytes of machine code ask it.
"""

from __future__ import annotations

import ctypes
import mmap
from functools import cache
from typing import NamedTuple

_CODE = bytes.fromhex(
    "53"  # push rbx
    "4989d0"  # mov r8, rdx
    "89f8"  # mov eax, edi
    "89f1"  # mov ecx, esi
    "0fa2"  # cpuid
    "418900"  # mov [r8], eax
    "41895804"  # mov [r8 + 4], ebx
    "41894808"  # mov [r8 + 8], ecx
    "4189500c"  # mov [r8 + 12], edx
    "5b"  # pop rbx
    "c3"  # ret
)

_EXTENDED = 0x8000_0000


class Registers(NamedTuple):
    """What CPUID leaves behind."""

    eax: int
    ebx: int
    ecx: int
    edx: int


_NOTHING = Registers(0, 0, 0, 0)


@cache
def feature_words() -> tuple[int, ...]:
    """The eight words of hw_caps (FEATURESET_1d to FEATURESET_e7d of public/arch-x86/cpufeatureset.h).

    All zero where the host forbids memory that can be executed.
    """
    try:
        return _feature_words()
    except OSError:
        return (0,) * 8


def _feature_words() -> tuple[int, ...]:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_CODE)
    words = ctypes.c_uint32 * 4
    function = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.POINTER(words))(
        ctypes.addressof(ctypes.c_char.from_buffer(page))
    )

    def cpuid(leaf: int, subleaf: int = 0) -> Registers:
        # A leaf beyond the last one would be answered with the contents of another.
        if leaf > limits[leaf & _EXTENDED]:
            return _NOTHING
        result = words()
        function(leaf, subleaf, ctypes.byref(result))
        return Registers(*result)

    limits = {0: 0, _EXTENDED: _EXTENDED}
    limits = {base: cpuid(base).eax for base in limits}
    basic, extended, structured = cpuid(1), cpuid(_EXTENDED + 1), cpuid(7)
    return (
        basic.edx,
        basic.ecx,
        extended.edx,
        extended.ecx,
        cpuid(0xD, 1).eax,
        structured.ebx,
        structured.ecx,
        cpuid(_EXTENDED + 7).edx,
    )
