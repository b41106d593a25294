/*
 * Out of ring 0: what a trap or SYSCALL has left there, which becomes the guest's registers and what is to happen.
 */
#ifndef XENOLITH_KVM_ENTRIES_H
#define XENOLITH_KVM_ENTRIES_H

#include "exceptions.h"

/* KVM's order of general registers, in that of instructions */
static const uint8_t order[8] = { 0, 2, 3, 1, 6, 7, 4, 5 };

static void load_state(struct vcpu *vcpu)
{
    const uint64_t *general = (const uint64_t *)&vcpu->engine.run->s.regs.regs;
    int index;

    for (index = 0; index < 8; index++)
        vcpu->engine.registers[index] = general[order[index]];
    memcpy(vcpu->engine.registers + 8, general + 8, 8 * 8);
    vcpu->engine.registers[RIP] = vcpu->engine.run->s.regs.regs.rip;
    vcpu->engine.rflags = vcpu->engine.run->s.regs.regs.rflags;
}

static int is_in(uint64_t rip, uint64_t page)
{
    return rip - page < PAGE_SIZE;
}

/* SYSCALL has left RIP in RCX and the flags in R11. */
static void syscall(struct trap_context *context, int is_64bit)
{
    struct vcpu *vcpu = context->vcpu;

    load_state(vcpu);
    vcpu->engine.registers[RIP] = vcpu->engine.registers[RCX];
    write_flags(context, vcpu->engine.registers[R11]);
    load_flat_segments(context, is_64bit ? FLAT_CS64 : FLAT_CS32);
    if (vcpu->in_kernel) {
        context->engine.counts[COUNT_HYPERCALLS]++;
        hypercall(context);
    } else {
        context->engine.counts[COUNT_SYSCALLS]++;
        system_call(context, is_64bit);
    }
}

/* A trap whose frame ends there. */
static void trap_from(struct trap_context *context, uint32_t vector, uint64_t *end)
{
    struct vcpu *vcpu = context->vcpu;
    int has_error_code = vector < 32 && PUSHES_ERROR_CODE >> vector & 1;

    load_state(vcpu);
    if ((end[-4] & 3) != 3) {
        context->on_crash(FAULT_IN_RING_0, special(context)->cr2);
        return;
    }
    vcpu->engine.registers[RIP] = end[-5];
    vcpu->engine.registers[RSP] = end[-2];
    write_flags(context, end[-3]);
    if ((end[-4] & 0xffff) == FLAT_CS64 && (end[-1] & 0xffff) == FLAT_SS) {
        load_flat_segments(context, FLAT_CS64);
    } else {
        if (!load_code_segment(context, end[-4] & 0xffff))
            load_flat_segments(context, FLAT_CS64);
        if (!load_stack_segment(context, end[-1] & 0xffff))
            load_null_stack_segment(context, end[-1] & 0xffff);
    }
    /* the next trap must leave another one */
    end[-4] = 0;
    exception(context, vector, has_error_code ? (uint32_t)end[-6] : 0);
}

/*
 * #DB in ring 0: MOV SS has put a breakpoint of the guest's off, and the next instruction has trapped. The breakpoint is
 * lost, as on Xen; that trap is not.
 */
static void late_breakpoint(struct trap_context *context, const uint64_t *end)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t rip = end[-5];

    if (is_in(rip, context->engine.call_stubs)) {
        vcpu->engine.run->s.regs.regs.rsp = end[-2];
        syscall(context, rip < context->engine.call_stubs + SYSCALL32_ENTRY);
    } else if (rip - context->engine.trap_stubs < VECTORS * STUB_BYTES) {
        trap_from(context, (rip - context->engine.trap_stubs) / STUB_BYTES, vcpu->engine.trap_frame);
    } else {
        context->on_crash(FAULT_IN_RING_0, rip);
    }
}

static void trap(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    uint32_t vector = vcpu->engine.run->io.port;
    uint64_t *end = vcpu->engine.trap_frame;

    if (vector == VECTOR_DB)
        end -= DEBUG_STACK_WORDS;
    if (vector == VECTOR_DB && (end[-4] & 3) != 3)
        late_breakpoint(context, end);
    else
        trap_from(context, vector, end);
}

#endif
