/*
 * The emulated processor of a PV guest as ../../pv_traps/engine.h wants it: the emulator's own state, read and written
 * in place.
 *
 * The guest's kernel runs at CPL 1, its programs at CPL 3. So the emulator, which keeps apart what it has translated
 * for CPL 3 and for all others, needs not forget either at each change of the page tables between the two. For this
 * Xen's flat segments are of level 1 in the descriptor table that the kernel is shown; all others are of level 3.
 * Where a kernel does what only works at the privilege level of those, it runs at CPL 3 up to its next trap.
 */
#ifndef XENOLITH_UNICORN_REGISTERS_H
#define XENOLITH_UNICORN_REGISTERS_H

#include "engine_context.h"

typedef struct segment segment_register;

#include "../../pv_traps/engine.h"

#define KERNEL_CPL 1u
#define USER_CPL 3u

/* the emulator's notes of what it translates code for */
#define HFLAG_CPL 3u
#define HFLAG_INHIBIT_IRQ (1u << 3)
#define HFLAG_CS32 (1u << 4)
#define HFLAG_SS32 (1u << 5)
#define HFLAG_ADDSEG (1u << 6)
#define HFLAG_CS64 (1u << 15)
#define HFLAGS_SEGMENTS (HFLAG_CPL | HFLAG_CS32 | HFLAG_SS32 | HFLAG_ADDSEG | HFLAG_CS64 | HFLAG_INHIBIT_IRQ)

enum { TABLE_GDT = 8 }; /* behind the segment registers, LDTR and TR */

static uint64_t *general_registers(const struct trap_context *context)
{
    return context->engine.registers;
}

static uint64_t load_rflags(const struct trap_context *context)
{
    return context->engine.read_eflags(context->engine.env);
}

static void store_rflags(struct trap_context *context, uint64_t rflags)
{
    context->engine.write_eflags(context->engine.env, rflags, EFLAGS_ALL);
}

static uint64_t fault_address(const struct trap_context *context)
{
    return context->engine.control[2];
}

static segment_register *segment(const struct trap_context *context, int number)
{
    return &context->engine.segments[number];
}

static void load_segment(segment_register *segment, uint32_t selector, uint32_t low, uint32_t high)
{
    uint32_t limit = (low & 0xffff) | (high & 0xf0000);

    segment->selector = selector;
    segment->base = low >> 16 | (high & 0xff) << 16 | (high & 0xff000000);
    segment->limit = high & DESC_GRANULAR ? limit << 12 | 0xfff : limit;
    segment->flags = high;
}

static int is_64bit_code(const segment_register *code)
{
    return (code->flags & DESC_LONG) != 0;
}

static uint32_t privilege_level(const struct trap_context *context)
{
    return context->vcpu->in_kernel ? KERNEL_CPL : USER_CPL;
}

static void run_at(struct trap_context *context, uint32_t cpl)
{
    struct segment *segments = context->engine.segments;
    uint32_t hflags = *context->engine.hflags & ~HFLAGS_SEGMENTS, code = segments[SEG_CS].flags;

    segments[TABLE_GDT].base = context->vcpu->engine.gdt_shown[cpl == KERNEL_CPL];
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
    *context->engine.hflags = hflags;
}

static void segments_loaded(struct trap_context *context)
{
    run_at(context, privilege_level(context));
}

static void root_changed(struct trap_context *context)
{
    context->engine.control[3] = context->vcpu->roots[context->vcpu->in_kernel];
}

/* Let the kernel go on at the privilege level of its selectors. */
static void enter_cpl3(struct trap_context *context)
{
    segment(context, SEG_CS)->selector |= 3;
    segment(context, SEG_SS)->selector |= 3;
    run_at(context, USER_CPL);
    context->vcpu->engine.flush = 1;
}

/* What was translated for CPL 3 may not be the guest's programs' alone any more. */
static void leave_guest_code(struct trap_context *context)
{
    if (context->vcpu->in_kernel && (*context->engine.hflags & HFLAG_CPL) == USER_CPL)
        context->vcpu->engine.flush = 1;
}

static void forget_translations(struct trap_context *context, const struct native_trap *trap)
{
    if (trap->forget == FORGET_PAGE)
        context->engine.flush_page(context->engine.cpu, trap->forget_page);
    else
        context->engine.flush_tlb(context->engine.cpu);
}

#endif
