"""Numbers that Python has in common with the C code, and that both engines have for PV guests.

Those of the architecture are from the AMD64 Architecture Programmer's Manual, volume 2, the others from
public/arch-x86/xen-x86_64.h.
"""

from __future__ import annotations

ES, CS, SS, DS, FS, GS = range(6)
"""Segment registers, by their numbers in instructions."""

SYSCALL_BYTES = 2
CR0_TS = 8

CR0_PG_AM_WP_NE_ET_MP_PE = 0x80050033
CR4_PAE_FXSR_XMM = 0x620
EFER_NXE_LMA_LME_SCE = 0xD01
"""What PV guests run with."""

FIRST_SLOT, SLOTS = 256, 16
"""The entries of a page table of level 4 that are Xen's."""

TABLE_PAGES = 16
"""Of a descriptor table, at most."""
GUEST_GDT_FRAMES = 14
"""How many of a global one are the guest's; the next is of Xen's own segments."""
GDT_LIMIT = 0xFFFF

FLAT_DESCRIPTORS = {
    4: 0x00CFFB000000FFFF,  # FLAT_RING3_CS32
    5: 0x00CFF3000000FFFF,  # FLAT_RING3_DS32 and _SS
    6: 0x00AFFB000000FFFF,  # FLAT_RING3_CS64
}
"""Xen's own segments, by their index in that page."""
