/*
 * The structures that traps.py and the C code of PV vCPUs on KVM share, and the numbers of the architecture and of Xen.
 */
#ifndef XENOLITH_KVM_TRAP_CONTEXT_H
#define XENOLITH_KVM_TRAP_CONTEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <linux/kvm.h>

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
#define PF_KNOWN 0x1fu
#define GP_EXTERNAL 1u
#define GP_IDT 2u

#define EFLAGS_TF 0x100u
#define EFLAGS_IF 0x200u
#define EFLAGS_DF 0x400u
#define EFLAGS_IOPL 0x3000u
#define EFLAGS_NT 0x4000u
#define EFLAGS_RF 0x10000u
#define EFLAGS_VM 0x20000u
#define EFLAGS_AC 0x40000u
#define EFLAGS_ALL 0x00277fd5u /* all that can be written; bit 1 is always set */
#define EFLAGS_CLEARED (EFLAGS_AC | EFLAGS_VM | EFLAGS_RF | EFLAGS_NT | EFLAGS_TF)

#define CR0_TS 8u
#define CR4_DE 8u

/* flat segments of public/arch-x86/xen-x86_64.h, and the second words of their descriptors */
#define FLAT_CS32 0xe023u
#define FLAT_SS 0xe02bu
#define FLAT_CS64 0xe033u
#define DESC_CS32 0x00cffb00u
#define DESC_SS 0x00cff300u
#define DESC_CS64 0x00affb00u

/* the engine's own, in the same page of the descriptor table */
#define RING0_CS 0xe008u
#define RING0_SS 0xe010u
#define DESC_RING0_CS 0x00af9b00u
#define DESC_RING0_SS 0x00cf9300u

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
#define INT_OPCODE 0xcd
#define INT3_OPCODE 0xcc
#define INTO_OPCODE 0xce

#define PTE_PRESENT 1u
#define PTE_WRITABLE 2u
#define PTE_ACCESSED 0x20u
#define PTE_DIRTY 0x40u
#define PTE_LARGE 0x80u
#define PTE_ADDRESS 0x000ffffffffff000u

/* what only Xen uses: nothing of a guest's can be there */
#define XEN_START 0xffff800000000000u
#define XEN_END 0xffff880000000000u

enum { RAX = 0, RCX = 1, RDX = 2, RBX = 3, RSP = 4, RBP = 5, RSI = 6, RDI = 7, R8 = 8, R11 = 11, RIP = 16 };
enum {
    CALLBACK_EVENT = 0,
    CALLBACK_FAILSAFE = 1,
    CALLBACK_SYSCALL = 2,
    CALLBACK_SYSENTER = 5,
    CALLBACK_SYSCALL32 = 7,
    CALLBACKS = 8
};
enum { INFO_PENDING = 0, INFO_MASK = 1, INFO_CR2 = 16 }; /* offsets in struct vcpu_info */
enum { TABLE_PAGES = 16 };
/* ring_0.py; the stack of #DB ends so far below that of all others */
enum { SYSCALL_PORT = 0xfc, DONE_PORT = 0xfe, SYSCALL32_ENTRY = 16, STUB_BYTES = 4, VECTORS = 256 };
#define DEBUG_STACK_WORDS (PAGE_SIZE / 2 / 8)

/* why a domain crashes; traps.py has the words */
enum { BAD_STACK = 1, NO_HANDLER = 2, BAD_IRET_FRAME = 3, NO_USER_PAGE_TABLE = 4, FAULT_IN_RING_0 = 5 };

/* what is counted; traps.py has the words */
enum { COUNT_ENTRIES, COUNT_SYSCALLS, COUNT_HYPERCALLS, COUNT_PAGE_FAULTS, COUNT_OTHERS, COUNT_REWRITTEN, COUNTERS };

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
    uint64_t registers[17]; /* general ones in the order of instructions, then RIP */
    uint64_t rflags;
    uint64_t kernel_sp;
    uint64_t roots[2]; /* the top page table of user and of kernel mode: by in_kernel */
    uint64_t other_gs_base; /* of the mode that the vCPU is not in */
    uint8_t *info; /* its struct vcpu_info */
    uint64_t gdt[TABLE_PAGES], ldt[TABLE_PAGES]; /* machine addresses of what its tables show */
    struct kvm_run *run;
    uint64_t *trap_frame; /* behind the frame that a trap leaves on the stack of ring 0 */
    uint32_t ldt_limit;
    uint32_t in_kernel;
    uint32_t flushed; /* how many of the context's flushes it has made */
    uint32_t nmi_pending, nmi_masked;
    int32_t fd;
};

struct trap_context {
    uint8_t *memory; /* machine memory, from address 0 on */
    uint64_t memory_size;
    uint8_t *private_memory; /* the engine's own, at private_base */
    uint64_t private_base, private_size;
    uint64_t trap_stubs, call_stubs; /* where the guest has the pages of code that traps and SYSCALL enter */
    void (*on_hypercall)(void);
    int (*on_fault)(uint32_t vector, uint32_t error_code, uint64_t address); /* whether it was emulated */
    void (*on_crash)(uint32_t why, uint64_t detail);
    void (*on_too_many_changes)(void); /* make KVM drop all its copies of page tables */
    struct vcpu *vcpu; /* the one that runs */
    void *native_self; /* the hypervisor's own, for its native calls; those are NULL where it has none */
    native_call *native_hypercall, *native_store;
    struct table_changes *changes; /* NULL where KVM reads the guest's page tables themselves */
    uint8_t *rewriting; /* pages of code, at rewriting_address for the guest */
    uint64_t rewriting_address, rewriting_size, all_memory;
    uint64_t counts[COUNTERS];
    uint32_t stopping;
    uint32_t moves_rip; /* whether RIP is behind an OUT when that exits */
    uint32_t flushes; /* goes up whenever all vCPUs are to forget translations */
};

/* the words of CS and SS that a trap saves, and whence */
struct origin {
    uint64_t rip, cs, rflags, rsp, ss;
};

#endif
