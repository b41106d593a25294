/*
 * Flags, segments and modes of a PV vCPU on KVM, whose kernel and programs are both at CPL 3.
 */
#ifndef XENOLITH_KVM_GUEST_SEGMENTS_H
#define XENOLITH_KVM_GUEST_SEGMENTS_H

#include "guest_memory.h"

static struct kvm_sregs *special(const struct trap_context *context)
{
    return &context->vcpu->run->s.regs.sregs;
}

static uint64_t read_flags(const struct trap_context *context)
{
    return context->vcpu->rflags | EFLAGS_IF;
}

static void write_flags(const struct trap_context *context, uint64_t flags)
{
    context->vcpu->rflags = (flags & EFLAGS_ALL & ~(uint64_t)(EFLAGS_IOPL | EFLAGS_VM)) | EFLAGS_IF | 2;
}

static void load_segment(struct kvm_segment *segment, uint32_t selector, uint32_t low, uint32_t high)
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

/* An SS that 64-bit code has without a descriptor: at the privilege level of the code. */
static void load_null_stack_segment(struct kvm_segment *segment, uint32_t selector)
{
    load_segment(segment, selector, 0, DESC_SS);
    segment->base = 0;
}

static void load_flat_segments(struct trap_context *context, uint32_t code)
{
    load_segment(&special(context)->cs, code, 0xffff, code == FLAT_CS32 ? DESC_CS32 : DESC_CS64);
    load_segment(&special(context)->ss, FLAT_SS, 0xffff, DESC_SS);
}

static void toggle_mode(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t base = special(context)->gs.base;

    vcpu->in_kernel ^= 1;
    special(context)->gs.base = vcpu->other_gs_base;
    vcpu->other_gs_base = base;
}

static uint64_t copy_descriptor(const struct trap_context *context, uint32_t selector)
{
    const uint64_t *pages = selector & 4 ? context->vcpu->ldt : context->vcpu->gdt;
    uint32_t offset = selector & 0xfff8;
    const uint8_t *host = machine(context, pages[offset / PAGE_SIZE] + offset % PAGE_SIZE, 8);
    uint64_t descriptor = 0;

    if (host)
        memcpy(&descriptor, host, 8);
    return descriptor;
}

/* The descriptor that a selector of privilege level 3 names; 0 where there is none. */
static uint64_t read_descriptor(const struct trap_context *context, uint32_t selector)
{
    uint64_t descriptor;

    if (selector & 4 && (selector & 0xfff8) + 7 > context->vcpu->ldt_limit)
        return 0;
    descriptor = copy_descriptor(context, selector);
    if (!descriptor && selector & 4 && context->on_fault(VECTOR_NP, selector & 0xffff, 0))
        descriptor = copy_descriptor(context, selector); /* that page is only now shown */
    /* not those of ring 0 */
    return (descriptor >> 45 & 3) == 3 ? descriptor : 0;
}

/* Load DS, ES, FS or GS, with a null selector where the processor would fault; whether it would not. */
static int load_data_segment(struct trap_context *context, struct kvm_segment *segment, uint32_t selector)
{
    uint64_t descriptor = selector & 0xfffc ? read_descriptor(context, selector) : 0;
    uint32_t high = descriptor >> 32, wanted = DESC_PRESENT | DESC_S;

    if ((high & wanted) == wanted && (high & (DESC_CODE | DESC_READABLE)) != DESC_CODE) {
        load_segment(segment, selector, (uint32_t)descriptor, high);
        return 1;
    }
    load_segment(segment, 0, 0, 0);
    return !(selector & 0xfffc);
}

static int load_code_segment(struct trap_context *context, uint32_t selector)
{
    uint64_t descriptor = read_descriptor(context, selector);
    uint32_t high = descriptor >> 32, wanted = DESC_PRESENT | DESC_S | DESC_CODE;

    if ((high & wanted) != wanted || (high & (DESC_LONG | DESC_BIG)) == (DESC_LONG | DESC_BIG))
        return 0;
    load_segment(&special(context)->cs, selector, (uint32_t)descriptor, high);
    return 1;
}

static int load_stack_segment(struct trap_context *context, uint32_t selector)
{
    uint64_t descriptor;
    uint32_t high, wanted = DESC_PRESENT | DESC_S | DESC_WRITABLE;

    if (!(selector & 0xfffc)) {
        if (!special(context)->cs.l)
            return 0;
        load_null_stack_segment(&special(context)->ss, selector);
        return 1;
    }
    descriptor = read_descriptor(context, selector);
    high = descriptor >> 32;
    if ((high & wanted) != wanted || high & DESC_CODE)
        return 0;
    load_segment(&special(context)->ss, selector, (uint32_t)descriptor, high);
    return 1;
}

#endif
