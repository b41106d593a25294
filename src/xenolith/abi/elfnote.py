"""The ELF notes by which a kernel image describes itself to Xen (public/elfnote.h).

A note's owner name is "Xen"; numeric values are little endian, mostly of 4 or 8 bytes.
"""

from __future__ import annotations

from enum import IntEnum

from xenolith.abi.constants import c_constants

HEADER = "elfnote.h"

NOTE_NAME = b"Xen"
"""The owner name of Xen's notes, without its terminating zero."""


@c_constants("XEN_ELFNOTE_")
class ElfNote(IntEnum):
    """The note types that kernels carry."""

    INFO = 0
    ENTRY = 1
    HYPERCALL_PAGE = 2
    VIRT_BASE = 3
    PADDR_OFFSET = 4
    XEN_VERSION = 5
    GUEST_OS = 6
    GUEST_VERSION = 7
    LOADER = 8
    PAE_MODE = 9
    FEATURES = 10
    BSD_SYMTAB = 11
    HV_START_LOW = 12
    L1_MFN_VALID = 13
    SUSPEND_CANCEL = 14
    INIT_P2M = 15
    MOD_START_PFN = 16
    SUPPORTED_FEATURES = 17
    PHYS32_ENTRY = 18


class ElfNoteSince420(IntEnum):
    """Note types that came with Xen 4.20, so older headers do not have them."""

    PHYS32_RELOC = 19
