/*
 * What Python calls, while the vCPU stands still; structures.py has the prototypes, too.
 */
#ifndef XENOLITH_PV_ENTRY_POINTS_H
#define XENOLITH_PV_ENTRY_POINTS_H

#include "traps.h"

/* For those who hand the structures in: built from another version of this file, they would be something else. */
uint64_t xenolith_pv_sizes(void)
{
    return (uint64_t)sizeof(struct trap_context) << 32 | sizeof(struct vcpu);
}

/* Deliver an exception to the guest's kernel. */
void xenolith_pv_inject(struct trap_context *context, uint32_t vector, uint32_t error_code)
{
    bounce_exception(context, vector, error_code, general_registers(context)[RIP]);
}

/* Load DS, ES, FS or GS, with a null selector where the processor would fault; whether it would not. */
int xenolith_pv_load_data_segment(struct trap_context *context, int number, uint32_t selector)
{
    return load_data_segment(context, number, selector);
}

/* Have the guest's kernel mend these selectors, some of which could not be loaded. */
void xenolith_pv_fail_safe(struct trap_context *context, uint64_t ds, uint64_t es, uint64_t fs, uint64_t gs)
{
    uint64_t selectors[4] = { ds, es, fs, gs };

    fail_safe(context, selectors);
}

/*
 * The vCPU goes on after another one. Xen loads its data segments anew; here their descriptors are only looked at, and
 * the bases are those that it had.
 */
void xenolith_pv_reload_data_segments(struct trap_context *context)
{
    static const int numbers[4] = { SEG_DS, SEG_ES, SEG_FS, SEG_GS };
    uint64_t selectors[4];
    int index, failed = 0;

    for (index = 0; index < 4; index++) {
        segment_register *at = segment(context, numbers[index]), before = *at;

        selectors[index] = before.selector & 0xffff;
        if (!load_data_segment(context, numbers[index], before.selector))
            failed = 1;
        else
            *at = before;
    }
    if (failed)
        fail_safe(context, selectors);
}

/* Load CS and SS for a vCPU that starts in the mode that it is in; 0 where they name no such segments. */
int xenolith_pv_start(struct trap_context *context, uint32_t code, uint32_t stack)
{
    if ((code | 3) == FLAT_CS64 && (stack | 3) == FLAT_SS) {
        load_flat_segments(context, FLAT_CS64);
        return 1;
    }
    if (!load_code_segment(context, code | 3) || !load_stack_segment(context, stack | 3))
        return 0;
    segments_loaded(context);
    return 1;
}

#endif
