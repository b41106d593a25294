/*
 * Flags, segments and modes of a PV vCPU.
 */
#ifndef XENOLITH_PV_SEGMENTS_H
#define XENOLITH_PV_SEGMENTS_H

#include "engine.h"
#include "guest_memory.h"

/* Interrupts never go off for a guest, nor does it get at ports; to its kernel it looks as the upcall mask says. */
static uint64_t read_flags(const struct trap_context *context)
{
    return load_rflags(context) | EFLAGS_IF;
}

static void write_flags(struct trap_context *context, uint64_t flags)
{
    store_rflags(context, (flags & EFLAGS_ALL & ~(uint64_t)(EFLAGS_IOPL | EFLAGS_VM)) | EFLAGS_IF | 2);
}

static void load_flat_segments(struct trap_context *context, uint32_t code)
{
    uint32_t level = privilege_level(context);

    load_segment(segment(context, SEG_CS), (code & ~3u) | level, 0xffff, code == FLAT_CS32 ? DESC_CS32 : DESC_CS64);
    load_segment(segment(context, SEG_SS), (FLAT_SS & ~3u) | level, 0xffff, DESC_SS);
    segments_loaded(context);
}

/* From user mode to kernel mode or back; then CS and SS are to be loaded. */
static void toggle_mode(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t base = segment(context, SEG_GS)->base;

    vcpu->in_kernel ^= 1;
    segment(context, SEG_GS)->base = vcpu->other_gs_base;
    vcpu->other_gs_base = base;
    root_changed(context);
}

/* From where the pages of the tables are, not where the processor is shown them: that is Xen's part of addresses. */
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
static int load_data_segment(struct trap_context *context, int number, uint32_t selector)
{
    uint64_t descriptor = selector & 0xfffc ? read_descriptor(context, selector) : 0;
    uint32_t high = descriptor >> 32, wanted = DESC_PRESENT | DESC_S;

    if ((high & wanted) == wanted && (high & (DESC_CODE | DESC_READABLE)) != DESC_CODE) {
        load_segment(segment(context, number), selector, (uint32_t)descriptor, high);
        return 1;
    }
    load_segment(segment(context, number), 0, 0, 0);
    return !(selector & 0xfffc);
}

static int load_code_segment(struct trap_context *context, uint32_t selector)
{
    uint64_t descriptor = read_descriptor(context, selector);
    uint32_t high = descriptor >> 32, wanted = DESC_PRESENT | DESC_S | DESC_CODE;

    if ((high & wanted) != wanted || (high & (DESC_LONG | DESC_BIG)) == (DESC_LONG | DESC_BIG))
        return 0;
    load_segment(segment(context, SEG_CS), selector, (uint32_t)descriptor, high);
    return 1;
}

/* An SS that 64-bit code has without a descriptor: at the privilege level of the code. */
static void load_null_stack_segment(struct trap_context *context, uint32_t selector)
{
    load_segment(segment(context, SEG_SS), selector, 0, DESC_SS);
}

/* Load SS after CS. */
static int load_stack_segment(struct trap_context *context, uint32_t selector)
{
    uint64_t descriptor;
    uint32_t high, wanted = DESC_PRESENT | DESC_S | DESC_WRITABLE;

    if (!(selector & 0xfffc)) {
        if (!is_64bit_code(segment(context, SEG_CS)))
            return 0;
        load_null_stack_segment(context, selector);
        return 1;
    }
    descriptor = read_descriptor(context, selector);
    high = descriptor >> 32;
    if ((high & wanted) != wanted || high & DESC_CODE)
        return 0;
    load_segment(segment(context, SEG_SS), selector, (uint32_t)descriptor, high);
    return 1;
}

#endif
