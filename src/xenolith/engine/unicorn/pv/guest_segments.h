/*
 * Flags, segments and modes of a PV vCPU.
 */
#ifndef XENOLITH_GUEST_SEGMENTS_H
#define XENOLITH_GUEST_SEGMENTS_H

#include "guest_memory.h"

static uint64_t read_flags(const struct trap_context *context)
{
    return context->read_eflags(context->env) | EFLAGS_IF;
}

static void write_flags(const struct trap_context *context, uint64_t flags)
{
    context->write_eflags(context->env, (flags & ~(uint64_t)(EFLAGS_IOPL | EFLAGS_VM)) | EFLAGS_IF | 2, EFLAGS_ALL);
}

static void load_segment(struct segment *segment, uint32_t selector, uint32_t low, uint32_t high)
{
    uint32_t limit = (low & 0xffff) | (high & 0xf0000);

    segment->selector = selector;
    segment->base = low >> 16 | (high & 0xff) << 16 | (high & 0xff000000);
    segment->limit = high & DESC_GRANULAR ? limit << 12 | 0xfff : limit;
    segment->flags = high;
}

/* After CS and SS have been loaded. */
static void update_hflags(struct trap_context *context, uint32_t cpl)
{
    struct segment *segments = context->segments;
    uint32_t hflags = *context->hflags & ~HFLAGS_SEGMENTS, code = segments[SEG_CS].flags;

    segments[SEG_GDT].base = context->vcpu->gdt[cpl == KERNEL_CPL];
    hflags |= cpl;
    if (code & DESC_LONG) {
        hflags |= HFLAG_CS64 | HFLAG_CS32 | HFLAG_SS32;
    } else {
        if (code & DESC_BIG)
            hflags |= HFLAG_CS32;
        if (segments[SEG_SS].flags & DESC_BIG)
            hflags |= HFLAG_SS32;
        if (!(code & DESC_BIG) || (segments[SEG_DS].base | segments[SEG_ES].base | segments[SEG_SS].base))
            hflags |= HFLAG_ADDSEG;
    }
    *context->hflags = hflags;
}

static void load_flat_segments(struct trap_context *context, uint32_t code, uint32_t cpl)
{
    uint32_t level = USER_CPL - cpl;

    load_segment(&context->segments[SEG_CS], code - level, 0xffff, code == FLAT_CS32 ? DESC_CS32 : DESC_CS64);
    load_segment(&context->segments[SEG_SS], FLAT_SS - level, 0xffff, DESC_SS);
    update_hflags(context, cpl);
}

/* Let the kernel go on at the privilege level of its selectors. */
static void enter_cpl3(struct trap_context *context)
{
    context->segments[SEG_CS].selector |= 3;
    context->segments[SEG_SS].selector |= 3;
    update_hflags(context, USER_CPL);
    context->vcpu->flush = 1;
}

/* In kernel mode: note if what was translated for CPL 3 is not the guest's programs' alone any more. */
static void leave_cpl3(struct trap_context *context)
{
    if (context->vcpu->in_kernel && (*context->hflags & HFLAG_CPL) == USER_CPL)
        context->vcpu->flush = 1;
}

static void toggle_mode(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t base = context->segments[SEG_GS].base;

    vcpu->in_kernel ^= 1;
    context->segments[SEG_GS].base = vcpu->other_gs_base;
    vcpu->other_gs_base = base;
    context->control[3] = vcpu->roots[vcpu->in_kernel];
}

/* The descriptor that a selector of privilege level 3 names; 0 where there is none. */
static uint64_t read_descriptor(const struct trap_context *context, uint32_t selector)
{
    const struct segment *table = &context->segments[selector & 4 ? SEG_LDT : SEG_GDT];
    uint32_t offset = selector & 0xfff8;
    uint64_t descriptor;

    if (offset + 7 > table->limit || !copy(context, table->base + offset, &descriptor, 8, 0))
        return 0;
    if (!descriptor && selector & 4 && context->on_fault(VECTOR_NP, selector & 0xffff, 0))
        copy(context, table->base + offset, &descriptor, 8, 0); /* that page is only now shown */
    return descriptor;
}

/* Load DS, ES, FS or GS; a null selector where the processor would fault, and 0. */
static int load_data_segment(struct trap_context *context, int number, uint32_t selector)
{
    uint64_t descriptor = 0;
    uint32_t high, wanted = DESC_PRESENT | DESC_S;

    if (selector & 0xfffc)
        descriptor = read_descriptor(context, selector);
    high = descriptor >> 32;
    if ((high & wanted) == wanted && (high & (DESC_CODE | DESC_READABLE)) != DESC_CODE) {
        load_segment(&context->segments[number], selector, (uint32_t)descriptor, high);
        return 1;
    }
    load_segment(&context->segments[number], 0, 0, 0);
    return !(selector & 0xfffc);
}

static int load_code_segment(struct trap_context *context, uint32_t selector)
{
    uint64_t descriptor = read_descriptor(context, selector);
    uint32_t high = descriptor >> 32, wanted = DESC_PRESENT | DESC_S | DESC_CODE;

    if ((high & wanted) != wanted || (high & (DESC_LONG | DESC_BIG)) == (DESC_LONG | DESC_BIG))
        return 0;
    load_segment(&context->segments[SEG_CS], selector, (uint32_t)descriptor, high);
    return 1;
}

static int load_stack_segment(struct trap_context *context, uint32_t selector)
{
    uint64_t descriptor = 0;
    uint32_t high, wanted = DESC_PRESENT | DESC_S | DESC_WRITABLE;

    if (selector & 0xfffc) {
        descriptor = read_descriptor(context, selector);
        high = descriptor >> 32;
        if ((high & wanted) != wanted || high & DESC_CODE)
            return 0;
    } else if (!(context->segments[SEG_CS].flags & DESC_LONG)) {
        return 0;
    }
    load_segment(&context->segments[SEG_SS], selector, (uint32_t)descriptor, descriptor >> 32);
    return 1;
}

#endif
