/*
 * The structures that Python and the C code of an engine share; structures.py has them, too.
 *
 * Before an engine includes this it defines what is its own of them: struct engine_vcpu and struct engine_context.
 */
#ifndef XENOLITH_PV_TRAP_CONTEXT_H
#define XENOLITH_PV_TRAP_CONTEXT_H

#include <stdint.h>

#include "../native_calls.h"
#include "x86.h"
#include "xen.h"

/* why a domain crashes; calls.py has the words */
enum { BAD_STACK = 1, NO_HANDLER = 2, BAD_IRET_FRAME = 3, NO_USER_PAGE_TABLE = 4, FAULT_IN_RING_0 = 5 };

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
    uint64_t gdt[TABLE_PAGES], ldt[TABLE_PAGES]; /* machine addresses of what its tables show */
    uint32_t ldt_limit;
    uint32_t in_kernel;
    uint32_t nmi_pending, nmi_masked;
    struct engine_vcpu engine;
};

struct trap_context {
    uint8_t *memory; /* machine memory, from address 0 on */
    uint64_t memory_size;
    uint8_t *private_memory; /* the engine's own, at private_base */
    uint64_t private_base, private_size;
    void (*on_hypercall)(void);
    int (*on_fault)(uint32_t vector, uint32_t error_code, uint64_t address); /* whether it was emulated */
    void (*on_crash)(uint32_t why, uint64_t detail);
    struct vcpu *vcpu; /* the one that runs */
    void *native_self; /* the hypervisor's own, for its native calls; those are NULL where it has none */
    native_call *native_hypercall, *native_store;
    struct engine_context engine;
};

#endif
