/*
 * HYPERVISOR_iret, as do_iret() of xen/arch/x86/pv/iret.c and restore_all_guest of entry.S.
 */
#ifndef XENOLITH_PV_IRET_H
#define XENOLITH_PV_IRET_H

#include "bounce.h"

/* struct iret_context of public/arch-x86/xen-x86_64.h */
struct iret_frame {
    uint64_t rax, r11, rcx, flags, rip, cs, rflags, rsp, ss;
};

/* Load CS and SS of a frame; the kernel gets what the processor would say of those that are none. */
static void return_to_segments(struct trap_context *context, const struct iret_frame *frame)
{
    uint32_t code = (frame->cs | 3) & 0xffff, stack = (frame->ss | 3) & 0xffff;

    if (code == FLAT_CS64 && stack == FLAT_SS) {
        load_flat_segments(context, FLAT_CS64);
    } else if (!load_code_segment(context, code)) {
        load_flat_segments(context, FLAT_CS64);
        segment(context, SEG_CS)->selector = code;
        bounce_exception(context, VECTOR_GP, frame->cs & 0xfffc, frame->rip);
    } else if (!load_stack_segment(context, stack)) {
        load_null_stack_segment(context, stack);
        segments_loaded(context);
        bounce_exception(context, VECTOR_GP, frame->ss & 0xfffc, frame->rip);
    } else {
        segments_loaded(context);
    }
}

/* The guest's kernel returns from a trap by the frame at its RSP. */
static void do_iret(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t *registers = general_registers(context);
    struct iret_frame frame;

    if (!copy(context, registers[RSP], &frame, sizeof(frame), 0)) {
        context->on_crash(BAD_IRET_FRAME, registers[RSP]);
        return;
    }
    if ((frame.cs & 3) == 3) {
        if (!vcpu->roots[0]) {
            context->on_crash(NO_USER_PAGE_TABLE, frame.rip);
            return;
        }
        toggle_mode(context);
    }
    registers[RAX] = frame.rax;
    registers[RSP] = frame.rsp;
    registers[RIP] = frame.rip;
    vcpu->info[INFO_MASK] = !(frame.rflags & EFLAGS_IF);
    vcpu->nmi_masked = 0;
    write_flags(context, frame.rflags & ~(uint64_t)EFLAGS_NT);
    if (frame.flags & VGCF_IN_SYSCALL) {
        /* by SYSRET, which takes RIP from RCX and the flags from R11 */
        registers[RCX] = frame.rip;
        registers[R11] = read_flags(context);
        load_flat_segments(context, (frame.cs & 0xffff) == FLAT_CS32 ? FLAT_CS32 : FLAT_CS64);
    } else {
        registers[RCX] = frame.rcx;
        registers[R11] = frame.r11;
        return_to_segments(context, &frame);
    }
}

#endif
