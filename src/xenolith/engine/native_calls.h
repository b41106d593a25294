/*
 * What a PV engine offers to code of the hypervisor's that is native, before it enters Python: most traps of a guest
 * that runs are updates of page tables, and take a microsecond this way instead of ten.
 */
#ifndef XENOLITH_NATIVE_CALLS_H
#define XENOLITH_NATIVE_CALLS_H

#include <stdint.h>

enum { FORGET_NOTHING = 0, FORGET_PAGE = 1, FORGET_ALL = 2 };

/* a vCPU that stands still in a trap out of its kernel */
struct native_trap {
    uint64_t *registers;    /* general ones in the order of instructions, then RIP */
    uint64_t *roots;        /* machine addresses of its page tables of level 4: of user mode, of kernel mode */
    uint64_t *kernel_stack; /* where the next trap out of user mode puts its frame */
    uint64_t *fs_base, *gs_base_user, *gs_base_kernel;
    uint64_t address;       /* of a fault */
    uint64_t rflags;        /* only the arithmetic flags may be changed */
    uint64_t forget_page;   /* for FORGET_PAGE */
    int forget;             /* which translations are to be forgotten */
};

/*
 * Where the hypervisor notes which entries of page tables it has changed that the processor may have read, for engines
 * that have to know. An entry that was never accessed, or that only allows more than before, is not among them.
 */
struct table_changes {
    uint64_t *entries; /* machine addresses */
    uint64_t count, size;
    uint32_t too_many; /* for the room that there is */
};

/* Whether the trap is done with; if not, registers say what is left of it to do. */
typedef int native_call(void *self, struct native_trap *trap);

#endif
