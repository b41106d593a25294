/*
 * Sending a PV guest's kernel to a gate of its own, as create_bounce_frame and test_guest_events of Xen's entry.S do.
 */
#ifndef XENOLITH_BOUNCE_H
#define XENOLITH_BOUNCE_H

#include "guest_segments.h"

static void crash(struct trap_context *context, uint32_t why, uint64_t detail)
{
    context->on_crash(why, detail);
}

#define MOST_DETAILS 4

/* Have the guest go on at a gate, a frame of what it was doing on its stack, with what there is to say of the trap. */
static int bounce(struct trap_context *context, const struct gate *gate, const struct origin *origin,
                  const uint64_t *details, unsigned count)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t frame[7 + MOST_DETAILS], stack = origin->rsp, cs = origin->cs & 0xffff;
    uint8_t mask = vcpu->info[INFO_MASK];
    unsigned words = 0;

    leave_cpl3(context);
    if (vcpu->in_kernel) {
        cs &= ~(uint64_t)3;
    } else {
        toggle_mode(context);
        stack = vcpu->kernel_sp;
    }
    stack &= ~(uint64_t)15;
    if (!gate->address) {
        crash(context, NO_HANDLER, origin->rip);
        return 0;
    }
    frame[words++] = context->registers[RCX];
    frame[words++] = context->registers[R11];
    while (count--)
        frame[words++] = *details++;
    frame[words++] = origin->rip;
    frame[words++] = cs | (uint64_t)mask << 32;
    frame[words++] = (origin->rflags & ~(uint64_t)(EFLAGS_IF | EFLAGS_IOPL)) | (mask ? 0 : EFLAGS_IF);
    frame[words++] = origin->rsp;
    frame[words++] = origin->ss & 0xffff;
    stack -= 8 * words;
    if ((stack >= XEN_START && stack < XEN_END) || !copy(context, stack, frame, 8 * words, 1)) {
        crash(context, BAD_STACK, stack);
        return 0;
    }
    if (gate->masks_events)
        vcpu->info[INFO_MASK] = 1;
    context->registers[RSP] = stack;
    *context->rip = gate->address;
    load_flat_segments(context, FLAT_CS64, KERNEL_CPL);
    write_flags(context, origin->rflags & ~(uint64_t)EFLAGS_CLEARED);
    return 1;
}

static struct origin here(const struct trap_context *context)
{
    struct origin origin = {
        .rip = *context->rip,
        .cs = context->segments[SEG_CS].selector | 3,
        .rflags = read_flags(context),
        .rsp = context->registers[RSP],
        .ss = context->segments[SEG_SS].selector | 3,
    };

    return origin;
}

static int bounce_exception(struct trap_context *context, uint32_t vector, uint32_t error_code, uint64_t rip)
{
    struct origin origin = here(context);
    uint64_t detail = error_code;

    origin.rip = rip;
    return bounce(context, &context->vcpu->traps[vector], &origin, &detail,
                  vector < 32 && PUSHES_ERROR_CODE >> vector & 1);
}

/* The guest's kernel is to mend selectors of data segments that name none: load_segments of xen/arch/x86/domain.c. */
static void fail_safe(struct trap_context *context, const uint64_t selectors[4])
{
    struct origin origin = here(context);

    bounce(context, &context->vcpu->callbacks[CALLBACK_FAILSAFE], &origin, selectors, 4);
}

/* What is to happen before the guest goes on: events, NMIs, forgetting translations. RIP is where it would go on. */
static void resume(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;

    if (vcpu->nmi_pending && !vcpu->nmi_masked) {
        vcpu->nmi_pending = 0;
        /* without a handler it is lost, as in Xen */
        if (vcpu->traps[VECTOR_NMI].address) {
            vcpu->nmi_masked = 1;
            if (!bounce_exception(context, VECTOR_NMI, 0, *context->rip))
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
    if (vcpu->flush) {
        vcpu->flush = 0;
        context->flush_tlb(context->cpu);
    }
}

#endif
