/*
 * Sending a PV guest's kernel to a gate of its own, as create_bounce_frame and test_guest_events of Xen's entry.S do,
 * and back by the iret hypercall.
 */
#ifndef XENOLITH_KVM_BOUNCE_H
#define XENOLITH_KVM_BOUNCE_H

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
    frame[words++] = vcpu->registers[RCX];
    frame[words++] = vcpu->registers[R11];
    while (count--)
        frame[words++] = *details++;
    frame[words++] = origin->rip;
    frame[words++] = cs | (uint64_t)mask << 32;
    frame[words++] = (origin->rflags & ~(uint64_t)(EFLAGS_IF | EFLAGS_IOPL)) | (mask ? 0 : EFLAGS_IF);
    frame[words++] = origin->rsp;
    frame[words++] = origin->ss & 0xffff;
    stack -= 8 * words;
    if (!copy(context, stack, frame, 8 * words, 1)) {
        crash(context, BAD_STACK, stack);
        return 0;
    }
    if (gate->masks_events)
        vcpu->info[INFO_MASK] = 1;
    vcpu->registers[RSP] = stack;
    vcpu->registers[RIP] = gate->address;
    load_flat_segments(context, FLAT_CS64);
    write_flags(context, origin->rflags & ~(uint64_t)EFLAGS_CLEARED);
    return 1;
}

static struct origin here(const struct trap_context *context)
{
    const struct vcpu *vcpu = context->vcpu;
    struct origin origin = {
        .rip = vcpu->registers[RIP],
        .cs = special(context)->cs.selector | 3,
        .rflags = read_flags(context),
        .rsp = vcpu->registers[RSP],
        .ss = special(context)->ss.selector | 3,
    };

    return origin;
}

static int bounce_exception(struct trap_context *context, uint32_t vector, uint32_t error_code, uint64_t rip)
{
    struct origin origin = here(context);
    uint64_t detail = error_code;

    origin.rip = rip;
    /* a breakpoint is not to strike again when the kernel returns to the instruction */
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
static void resume(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;

    if (vcpu->nmi_pending && !vcpu->nmi_masked) {
        vcpu->nmi_pending = 0;
        /* without a handler it is lost, as in Xen */
        if (vcpu->traps[VECTOR_NMI].address) {
            vcpu->nmi_masked = 1;
            if (!bounce_exception(context, VECTOR_NMI, 0, vcpu->registers[RIP]))
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

/* HYPERVISOR_iret: the guest's kernel returns from a trap by the frame at its RSP. */
static void do_iret(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    struct {
        uint64_t rax, r11, rcx, flags, rip, cs, rflags, rsp, ss;
    } frame;

    if (!copy(context, vcpu->registers[RSP], &frame, sizeof(frame), 0)) {
        crash(context, BAD_IRET_FRAME, vcpu->registers[RSP]);
        return;
    }
    if ((frame.cs & 3) == 3) {
        if (!vcpu->roots[0]) {
            crash(context, NO_USER_PAGE_TABLE, frame.rip);
            return;
        }
        toggle_mode(context);
    }
    vcpu->registers[RAX] = frame.rax;
    vcpu->registers[RSP] = frame.rsp;
    vcpu->registers[RIP] = frame.rip;
    vcpu->info[INFO_MASK] = !(frame.rflags & EFLAGS_IF);
    vcpu->nmi_masked = 0;
    write_flags(context, frame.rflags & ~(uint64_t)EFLAGS_NT);
    if (frame.flags & VGCF_IN_SYSCALL) {
        /* by SYSRET, which takes RIP from RCX and the flags from R11 */
        vcpu->registers[RCX] = frame.rip;
        vcpu->registers[R11] = read_flags(context);
        load_flat_segments(context, (frame.cs & 0xffff) == FLAT_CS32 ? FLAT_CS32 : FLAT_CS64);
        return;
    }
    vcpu->registers[RCX] = frame.rcx;
    vcpu->registers[R11] = frame.r11;
    if (((frame.cs | 3) & 0xffff) == FLAT_CS64 && ((frame.ss | 3) & 0xffff) == FLAT_SS) {
        load_flat_segments(context, FLAT_CS64);
        return;
    }
    if (!load_code_segment(context, (frame.cs | 3) & 0xffff)) {
        load_flat_segments(context, FLAT_CS64);
        special(context)->cs.selector = (frame.cs | 3) & 0xffff;
        bounce_exception(context, VECTOR_GP, frame.cs & 0xfffc, frame.rip);
        return;
    }
    if (!load_stack_segment(context, (frame.ss | 3) & 0xffff)) {
        load_null_stack_segment(&special(context)->ss, (frame.ss | 3) & 0xffff);
        bounce_exception(context, VECTOR_GP, frame.ss & 0xfffc, frame.rip);
    }
}

#endif
