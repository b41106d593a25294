/*
 * The structures that traps.py and the hooks of a PV guest share, and the numbers of the architecture and of Xen.
 */
#ifndef XENOLITH_TRAP_CONTEXT_H
#define XENOLITH_TRAP_CONTEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../native_calls.h"

#define PAGE_SIZE 4096u

#define VECTOR_DB 1
#define VECTOR_NMI 2
#define VECTOR_BP 3
#define VECTOR_OF 4
#define VECTOR_UD 6
#define VECTOR_NM 7
#define VECTOR_NP 11
#define VECTOR_GP 13
#define VECTOR_PF 14
#define PUSHES_ERROR_CODE 0x00227d00u /* by vector: 8, 10 to 14, 17, 21 */

#define PF_PRESENT 1u
#define PF_WRITE 2u
#define PF_USER 4u

#define EFLAGS_TF 0x100u
#define EFLAGS_IF 0x200u
#define EFLAGS_DF 0x400u
#define EFLAGS_IOPL 0x3000u
#define EFLAGS_NT 0x4000u
#define EFLAGS_RF 0x10000u
#define EFLAGS_VM 0x20000u
#define EFLAGS_AC 0x40000u
#define EFLAGS_ARITHMETIC 0x8d5u
#define EFLAGS_ALL 0x00277fd5u /* all that can be written; bit 1 is always set */
#define EFLAGS_CLEARED (EFLAGS_AC | EFLAGS_VM | EFLAGS_RF | EFLAGS_NT | EFLAGS_TF)

#define CR0_TS 8u

#define HFLAG_CPL 3u
#define HFLAG_INHIBIT_IRQ (1u << 3)
#define HFLAG_CS32 (1u << 4)
#define HFLAG_SS32 (1u << 5)
#define HFLAG_ADDSEG (1u << 6)
#define HFLAG_CS64 (1u << 15)
#define HFLAGS_SEGMENTS (HFLAG_CPL | HFLAG_CS32 | HFLAG_SS32 | HFLAG_ADDSEG | HFLAG_CS64 | HFLAG_INHIBIT_IRQ)

#define KERNEL_CPL 1u
#define USER_CPL 3u

/* flat segments of public/arch-x86/xen-x86_64.h, and the second words of their descriptors */
#define FLAT_CS32 0xe023u
#define FLAT_SS 0xe02bu
#define FLAT_CS64 0xe033u
#define DESC_CS32 0x00cffb00u
#define DESC_SS 0x00cff300u
#define DESC_CS64 0x00affb00u

#define DESC_PRESENT (1u << 15)
#define DESC_S (1u << 12)
#define DESC_CODE (1u << 11)
#define DESC_WRITABLE (1u << 9)
#define DESC_READABLE (1u << 9) /* of code */
#define DESC_LONG (1u << 21)
#define DESC_BIG (1u << 22)
#define DESC_GRANULAR (1u << 23)

#define VGCF_IN_SYSCALL 0x100u
#define HYPERCALL_IRET 23
#define SYSCALL_BYTES 2
#define INT_BYTES 2

#define PTE_PRESENT 1u
#define PTE_WRITABLE 2u
#define PTE_ACCESSED 0x20u
#define PTE_DIRTY 0x40u
#define PTE_LARGE 0x80u
#define PTE_ADDRESS 0x000ffffffffff000u

/* what only Xen uses: no stack of a guest can be there */
#define XEN_START 0xffff800000000000u
#define XEN_END 0xffff880000000000u

enum { RAX = 0, RCX = 1, RSP = 4, R11 = 11 };
enum { SEG_ES = 0, SEG_CS = 1, SEG_SS = 2, SEG_DS = 3, SEG_FS = 4, SEG_GS = 5, SEG_LDT = 6, SEG_GDT = 8 };
enum {
    CALLBACK_EVENT = 0,
    CALLBACK_FAILSAFE = 1,
    CALLBACK_SYSCALL = 2,
    CALLBACK_SYSENTER = 5,
    CALLBACK_SYSCALL32 = 7,
    CALLBACKS = 8
};
enum { INFO_PENDING = 0, INFO_MASK = 1, INFO_CR2 = 16 }; /* offsets in struct vcpu_info */

/* why a domain crashes; traps.py has the words */
enum { BAD_STACK = 1, NO_HANDLER = 2, BAD_IRET_FRAME = 3, NO_USER_PAGE_TABLE = 4 };

struct segment {
    uint32_t selector;
    uint64_t base;
    uint32_t limit;
    uint32_t flags;
};

/* where a trap or a callback goes; none where the address is 0 */
struct gate {
    uint64_t address;
    uint16_t selector;
    uint8_t dpl;
    uint8_t masks_events;
};

struct vcpu {
    struct gate traps[256];
    struct gate callbacks[CALLBACKS];
    uint64_t kernel_sp;
    uint64_t roots[2]; /* the top page table of user and of kernel mode: by in_kernel */
    uint64_t other_gs_base; /* of the mode that the vCPU is not in */
    uint8_t *info; /* its struct vcpu_info */
    uint64_t gdt[2]; /* where its descriptor table is shown: by whether it runs at KERNEL_CPL */
    uint32_t in_kernel;
    uint32_t flush; /* whether the guest must not go on with what the TLB holds */
    uint32_t nmi_pending, nmi_masked;
};

struct trap_context {
    void *cpu;
    void *env;
    uint64_t *registers;
    uint64_t *rip;
    uint32_t *hflags;
    struct segment *segments;
    uint64_t *control; /* CR0 and on */
    int32_t *exception_is_int; /* the error code is before it, where an INT n ends behind it */
    int32_t *old_exception;
    uint64_t (*read_eflags)(void *env);
    void (*write_eflags)(void *env, uint64_t value, uint32_t mask);
    void (*update_cr0)(void *env, uint32_t value);
    void (*raise)(void *env, int vector, int is_software, int error_code, int length);
    void (*flush_tlb)(void *cpu);
    uint8_t *memory; /* machine memory, from address 0 on */
    uint64_t memory_size;
    uint8_t *private_memory; /* the hypervisor's own, at private_base */
    uint64_t private_base, private_size;
    void (*on_hypercall)(void);
    int (*on_fault)(uint32_t vector, uint32_t error_code, uint64_t address); /* whether it was emulated */
    void (*on_cpuid)(void);
    void (*on_crash)(uint32_t why, uint64_t detail);
    struct vcpu *vcpu; /* the one that runs */
    void (*flush_page)(void *cpu, uint64_t address);
    void *native_self; /* the hypervisor's own, for its native calls; those are NULL where it has none */
    native_call *native_hypercall, *native_store;
};

/* the words of CS and SS that a trap saves, and whence */
struct origin {
    uint64_t rip, cs, rflags, rsp, ss;
};

#endif
