/*
 * The processor of a PV guest on KVM as ../../pv_traps/engine.h wants it: registers that the guest is entered with.
 *
 * Kernel and programs are both in ring 3, on page tables that the processor is told of when it is entered.
 */
#ifndef XENOLITH_KVM_REGISTERS_H
#define XENOLITH_KVM_REGISTERS_H

#include "engine_context.h"

typedef struct kvm_segment segment_register;

#include "../../pv_traps/engine.h"

static struct kvm_sregs *special(const struct trap_context *context)
{
    return &context->vcpu->engine.run->s.regs.sregs;
}

static uint64_t *general_registers(const struct trap_context *context)
{
    return context->vcpu->engine.registers;
}

static uint64_t load_rflags(const struct trap_context *context)
{
    return context->vcpu->engine.rflags;
}

static void store_rflags(struct trap_context *context, uint64_t rflags)
{
    context->vcpu->engine.rflags = rflags;
}

static uint64_t fault_address(const struct trap_context *context)
{
    return special(context)->cr2;
}

static segment_register *segment(const struct trap_context *context, int number)
{
    struct kvm_sregs *sregs = special(context);

    switch (number) {
    case SEG_ES:
        return &sregs->es;
    case SEG_CS:
        return &sregs->cs;
    case SEG_SS:
        return &sregs->ss;
    case SEG_DS:
        return &sregs->ds;
    case SEG_FS:
        return &sregs->fs;
    default:
        return &sregs->gs;
    }
}

static void load_segment(segment_register *segment, uint32_t selector, uint32_t low, uint32_t high)
{
    uint32_t limit = (low & 0xffff) | (high & 0xf0000);

    segment->selector = selector;
    segment->base = low >> 16 | (high & 0xff) << 16 | (high & 0xff000000);
    segment->limit = high & DESC_GRANULAR ? limit << 12 | 0xfff : limit;
    segment->type = (high >> 8 & 15) | 1;
    segment->s = high >> 12 & 1;
    segment->dpl = high >> 13 & 3;
    segment->present = high >> 15 & 1;
    segment->avl = high >> 20 & 1;
    segment->l = high >> 21 & 1;
    segment->db = high >> 22 & 1;
    segment->g = high >> 23 & 1;
    segment->unusable = !segment->present;
}

static int is_64bit_code(const segment_register *code)
{
    return code->l;
}

static uint32_t privilege_level(const struct trap_context *context)
{
    (void)context;
    return 3;
}

/* Segments and page tables are the processor's when it is entered. */
static void segments_loaded(struct trap_context *context)
{
    (void)context;
}

static void root_changed(struct trap_context *context)
{
    (void)context;
}

/* Nor does it matter how the guest was running. */
static void leave_guest_code(struct trap_context *context)
{
    (void)context;
}

static void forget_translations(struct trap_context *context, const struct native_trap *trap)
{
    (void)trap;
    context->engine.flushes++;
}

#endif
