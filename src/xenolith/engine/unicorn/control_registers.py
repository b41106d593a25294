"""Which bits of CR4 a guest may set: those of the features that CPUID shows it (AMD APM volume 2, section 3.1.3).

The emulator checks none of them.
"""

from __future__ import annotations

from collections.abc import Callable

_PERFORMANCE_COUNTERS = 1 << 8
_FEATURES = 1
_STRUCTURED_FEATURES = 7
_EBX, _ECX, _EDX = 1, 2, 3

_BITS = {
    (_FEATURES, _EDX): {
        1: 0b11,  # virtual 8086 mode's extensions, and those of protected mode
        2: 1 << 3,  # debugging extensions
        3: 1 << 4,  # large pages
        4: 1 << 2,  # TSC
        6: 1 << 5,  # PAE
        7: 1 << 6,  # machine checks
        13: 1 << 7,  # global pages
        24: 1 << 9,  # FXSAVE
        25: 1 << 10,  # SSE
    },
    (_FEATURES, _ECX): {
        5: 1 << 13,  # VMX
        6: 1 << 14,  # SMX
        17: 1 << 17,  # PCID
        26: 1 << 18,  # XSAVE
    },
    (_STRUCTURED_FEATURES, _EBX): {
        0: 1 << 16,  # FSGSBASE
        7: 1 << 20,  # SMEP
        20: 1 << 21,  # SMAP
    },
    (_STRUCTURED_FEATURES, _ECX): {
        2: 1 << 11,  # UMIP
        3: 1 << 22,  # protection keys
        16: 1 << 12,  # 57-bit addresses
    },
}
"""By leaf and register: the bits of CR4 that come with a feature's bit."""


def valid_cr4(cpuid: Callable[[int, int], tuple[int, int, int, int]]) -> int:
    """The bits of CR4 that a processor with these leaves has."""
    valid = _PERFORMANCE_COUNTERS
    for (leaf, register), features in _BITS.items():
        shown = cpuid(leaf, 0)[register]
        valid |= sum(bits for feature, bits in features.items() if shown >> feature & 1)
    return valid
