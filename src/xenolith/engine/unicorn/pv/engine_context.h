/*
 * What is the Unicorn engine's own of the structures of ../../pv_traps/trap_context.h; traps.py has them, too.
 */
#ifndef XENOLITH_UNICORN_ENGINE_CONTEXT_H
#define XENOLITH_UNICORN_ENGINE_CONTEXT_H

#include <stdint.h>

/* SegmentCache of the emulator's CPUX86State; flags are the second word of the descriptor */
struct segment {
    uint32_t selector;
    uint64_t base;
    uint32_t limit;
    uint32_t flags;
};

struct engine_vcpu {
    uint64_t gdt_shown[2]; /* where the processor is shown its descriptor table: by whether it runs at KERNEL_CPL */
    uint32_t flush; /* whether the guest must not go on with what the TLB holds */
    uint32_t faults_cpuid; /* whether CPUID of programs is #GP */
};

struct engine_context {
    void *cpu;
    void *env;
    uint64_t *registers;
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
    void (*flush_page)(void *cpu, uint64_t address);
    void (*on_cpuid)(void);
};

#include "../../pv_traps/trap_context.h"

#endif
