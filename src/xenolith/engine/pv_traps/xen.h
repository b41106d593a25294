/*
 * Numbers of Xen's interface for PV guests (public/arch-x86/xen-x86_64.h, public/xen.h, public/callback.h).
 */
#ifndef XENOLITH_PV_XEN_H
#define XENOLITH_PV_XEN_H

/* flat segments, and the second words of their descriptors; the first is 0xffff */
#define FLAT_CS32 0xe023u
#define FLAT_SS 0xe02bu
#define FLAT_CS64 0xe033u
#define DESC_CS32 0x00cffb00u
#define DESC_SS 0x00cff300u
#define DESC_CS64 0x00affb00u

#define VGCF_IN_SYSCALL 0x100u
#define HYPERCALL_IRET 23

/* what only Xen uses: entries 256 to 271 of a page table of level 4 */
#define XEN_START 0xffff800000000000u
#define XEN_END 0xffff880000000000u

/* the last one is of Xen's own segments */
enum { TABLE_PAGES = 16 };

enum {
    CALLBACK_EVENT = 0,
    CALLBACK_FAILSAFE = 1,
    CALLBACK_SYSCALL = 2,
    CALLBACK_SYSENTER = 5,
    CALLBACK_SYSCALL32 = 7,
    CALLBACKS = 8
};
enum { INFO_PENDING = 0, INFO_MASK = 1, INFO_CR2 = 16 }; /* offsets in struct vcpu_info */

#endif
