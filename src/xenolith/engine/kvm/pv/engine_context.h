/*
 * What is the KVM engine's own of the structures of ../../pv_traps/trap_context.h; traps.py has them, too.
 */
#ifndef XENOLITH_KVM_ENGINE_CONTEXT_H
#define XENOLITH_KVM_ENGINE_CONTEXT_H

#include <stdint.h>

#include <linux/kvm.h>

/* the engine's own, in the same page of the descriptor table as Xen's */
#define RING0_CS 0xe008u
#define RING0_SS 0xe010u
#define DESC_RING0_CS 0x00af9b00u
#define DESC_RING0_SS 0x00cf9300u

/* ring_0.py; the stack of #DB ends so far below that of all others */
enum { SYSCALL_PORT = 0xfc, DONE_PORT = 0xfe, SYSCALL32_ENTRY = 16, STUB_BYTES = 4, VECTORS = 256 };
#define DEBUG_STACK_WORDS (PAGE_SIZE / 2 / 8)

/* what is counted; traps.py has the words */
enum { COUNT_ENTRIES, COUNT_SYSCALLS, COUNT_HYPERCALLS, COUNT_PAGE_FAULTS, COUNT_OTHERS, COUNT_REWRITTEN, COUNTERS };

struct engine_vcpu {
    uint64_t registers[17]; /* general ones in the order of instructions, then RIP */
    uint64_t rflags;
    struct kvm_run *run;
    uint64_t *trap_frame; /* behind the frame that a trap leaves on the stack of ring 0 */
    uint32_t flushed; /* how many of the context's flushes it has made */
    int32_t fd;
};

struct engine_context {
    uint64_t trap_stubs, call_stubs; /* where the guest has the pages of code that traps and SYSCALL enter */
    void (*on_too_many_changes)(void); /* make KVM drop all its copies of page tables */
    struct table_changes *changes; /* NULL where KVM reads the guest's page tables themselves */
    uint8_t *rewriting; /* pages of code, at rewriting_address for the guest */
    uint64_t rewriting_address, rewriting_size, all_memory;
    uint64_t counts[COUNTERS];
    uint32_t stopping;
    uint32_t moves_rip; /* whether RIP is behind an OUT when that exits */
    uint32_t flushes; /* goes up whenever all vCPUs are to forget translations */
};

#include "../../pv_traps/trap_context.h"

#endif
