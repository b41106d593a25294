/*
 * Sending a PV guest's kernel to a gate of its own, as create_bounce_frame and test_guest_events of Xen's entry.S do.
 */
#ifndef XENOLITH_PV_BOUNCE_H
#define XENOLITH_PV_BOUNCE_H

#include "segments.h"

#define EFLAGS_CLEARED (EFLAGS_AC | EFLAGS_VM | EFLAGS_RF | EFLAGS_NT | EFLAGS_TF)
#define MOST_DETAILS 4

/* the words of CS and SS that a trap saves, and whence */
struct origin {
    uint64_t rip, cs, rflags, rsp, ss;
};

/* Have the guest go on at a gate, a frame of what it was doing on its stack, with what there is to say of the trap. */
static int bounce(struct trap_context *context, const struct gate *gate, const struct origin *origin,
                  const uint64_t *details, unsigned count)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t *registers = general_registers(context);
    uint64_t frame[7 + MOST_DETAILS], stack = origin->rsp, cs = origin->cs & 0xffff;
    uint8_t mask = vcpu->info[INFO_MASK];
    unsigned words = 0;

    leave_guest_code(context);
    if (vcpu->in_kernel) {
        cs &= ~(uint64_t)3;
    } else {
        toggle_mode(context);
        stack = vcpu->kernel_sp;
    }
    stack &= ~(uint64_t)15;
    if (!gate->address) {
        context->on_crash(NO_HANDLER, origin->rip);
        return 0;
    }
    frame[words++] = registers[RCX];
    frame[words++] = registers[R11];
    while (count--)
        frame[words++] = *details++;
    frame[words++] = origin->rip;
    frame[words++] = cs | (uint64_t)mask << 32;
    frame[words++] = (origin->rflags & ~(uint64_t)(EFLAGS_IF | EFLAGS_IOPL)) | (mask ? 0 : EFLAGS_IF);
    frame[words++] = origin->rsp;
    frame[words++] = origin->ss & 0xffff;
    stack -= 8 * words;
    if (!copy(context, stack, frame, 8 * words, 1)) {
        context->on_crash(BAD_STACK, stack);
        return 0;
    }
    if (gate->masks_events)
        vcpu->info[INFO_MASK] = 1;
    registers[RSP] = stack;
    registers[RIP] = gate->address;
    load_flat_segments(context, FLAT_CS64);
    write_flags(context, origin->rflags & ~(uint64_t)EFLAGS_CLEARED);
    return 1;
}

static struct origin here(const struct trap_context *context)
{
    const uint64_t *registers = general_registers(context);
    struct origin origin = {
        .rip = registers[RIP],
        .cs = segment(context, SEG_CS)->selector | 3,
        .rflags = read_flags(context),
        .rsp = registers[RSP],
        .ss = segment(context, SEG_SS)->selector | 3,
    };

    return origin;
}

static int bounce_exception(struct trap_context *context, uint32_t vector, uint32_t error_code, uint64_t rip)
{
    struct origin origin = here(context);
    uint64_t detail = error_code;

    origin.rip = rip;
    /* a breakpoint is a fault before the instruction, which is not to strike again; a single step, a trap behind it */
    if (vector == VECTOR_DB && !(origin.rflags & EFLAGS_TF))
        origin.rflags |= EFLAGS_RF;
    return bounce(context, &context->vcpu->traps[vector], &origin, &detail,
                  vector < 32 && PUSHES_ERROR_CODE >> vector & 1);
}

/* The guest's kernel is to mend selectors of data segments that name none: load_segments of xen/arch/x86/domain.c. */
static void fail_safe(struct trap_context *context, const uint64_t selectors[4])
{
    struct origin origin = here(context);

    bounce(context, &context->vcpu->callbacks[CALLBACK_FAILSAFE], &origin, selectors, 4);
}

/* What is to happen before the guest goes on: NMIs, events. RIP is where it would go on. */
static void deliver_pending(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;

    if (vcpu->nmi_pending && !vcpu->nmi_masked) {
        vcpu->nmi_pending = 0;
        /* without a handler it is lost, as in Xen */
        if (vcpu->traps[VECTOR_NMI].address) {
            vcpu->nmi_masked = 1;
            if (!bounce_exception(context, VECTOR_NMI, 0, general_registers(context)[RIP]))
                return;
        }
    }
    if (vcpu->info[INFO_PENDING] && !vcpu->info[INFO_MASK]) {
        struct origin origin = here(context);

        if (!bounce(context, &vcpu->callbacks[CALLBACK_EVENT], &origin, NULL, 0))
            return;
        /* whatever the guest registered it with: an upcall that did not mask upcalls would never end */
        vcpu->info[INFO_MASK] = 1;
    }
}

#endif
