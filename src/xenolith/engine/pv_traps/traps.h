/*
 * What a PV guest's traps come to: hypercalls, system calls and exceptions, the vCPU's registers those of the guest.
 *
 * The two engines get to know of traps in ways of their own, and go through these functions in orders of their own.
 */
#ifndef XENOLITH_PV_TRAPS_H
#define XENOLITH_PV_TRAPS_H

#include "iret.h"

/* Ask native code of the hypervisor's first; whether the trap is done with. */
static int call_natively(struct trap_context *context, native_call *call, uint64_t address)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t rflags = read_flags(context);
    struct native_trap trap = {
        .registers = general_registers(context),
        .roots = vcpu->roots,
        .kernel_stack = &vcpu->kernel_sp,
        .fs_base = (uint64_t *)&segment(context, SEG_FS)->base,
        .gs_base_user = &vcpu->other_gs_base,
        .gs_base_kernel = (uint64_t *)&segment(context, SEG_GS)->base,
        .address = address,
        .rflags = rflags,
    };
    int done = call(context->native_self, &trap);

    root_changed(context);
    if (trap.rflags != rflags)
        write_flags(context, trap.rflags);
    if (trap.forget != FORGET_NOTHING)
        forget_translations(context, &trap);
    return done;
}

/* SYSCALL of the kernel's, RIP behind it. */
static void hypercall(struct trap_context *context)
{
    uint64_t *registers = general_registers(context);

    leave_guest_code(context);
    if ((uint32_t)registers[RAX] == HYPERCALL_IRET) {
        do_iret(context);
        return;
    }
    load_flat_segments(context, FLAT_CS64);
    if (!context->native_hypercall || !call_natively(context, context->native_hypercall, 0))
        context->on_hypercall();
    registers[RCX] = registers[RIP];
    registers[R11] = read_flags(context);
}

/* SYSCALL out of a program: RIP is behind it, RCX and R11 are as it leaves them. */
static void system_call(struct trap_context *context, int is_64bit)
{
    struct gate *gate = &context->vcpu->callbacks[is_64bit ? CALLBACK_SYSCALL : CALLBACK_SYSCALL32];
    const uint64_t *registers = general_registers(context);
    struct origin origin = {
        .rip = registers[RCX],
        .cs = is_64bit ? FLAT_CS64 : FLAT_CS32,
        .rflags = registers[R11],
        .rsp = registers[RSP],
        .ss = FLAT_SS,
    };

    if (!gate->address)
        bounce_exception(context, VECTOR_UD, 0, origin.rip - SYSCALL_BYTES);
    else if (bounce(context, gate, &origin, NULL, 0))
        write_flags(context, origin.rflags & ~(uint64_t)(EFLAGS_CLEARED | EFLAGS_DF));
}

/* SYSENTER out of a 32-bit program, which says nothing of where it was. */
static void sysenter(struct trap_context *context)
{
    struct gate *gate = &context->vcpu->callbacks[CALLBACK_SYSENTER];
    struct origin origin = here(context);

    if (context->vcpu->in_kernel || !gate->address) {
        bounce_exception(context, VECTOR_GP, 0, origin.rip);
        return;
    }
    origin.rip = origin.rsp = 0;
    origin.cs = 3;
    origin.ss = FLAT_SS;
    origin.rflags &= ~(uint64_t)EFLAGS_NT;
    bounce(context, gate, &origin, NULL, 0);
}

/* Whether INT n may pass a gate: the kernel counts as ring 1, and Xen has gates of its own for three vectors. */
static int is_permitted(const struct vcpu *vcpu, uint32_t vector)
{
    const struct gate *gate = &vcpu->traps[vector];

    if (vector == VECTOR_BP || vector == VECTOR_OF)
        return 1;
    return vector == VECTOR_LEGACY_SYSCALL ? gate->address != 0 : gate->dpl >= (vcpu->in_kernel ? 1 : 3);
}

static void software_interrupt(struct trap_context *context, uint32_t vector, uint64_t next)
{
    if (!is_permitted(context->vcpu, vector))
        bounce_exception(context, VECTOR_GP, vector * 8 + GP_IDT, next - INT_BYTES);
    else
        bounce_exception(context, vector, 0, next);
}

static void page_fault(struct trap_context *context, uint32_t error_code)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t address = fault_address(context);

    error_code &= PF_KNOWN;
    if (vcpu->in_kernel) {
        error_code &= ~PF_USER;
        if ((error_code & (PF_PRESENT | PF_WRITE)) == (PF_PRESENT | PF_WRITE)
            && ((context->native_store && call_natively(context, context->native_store, address))
                || context->on_fault(VECTOR_PF, error_code, address)))
            return;
    }
    memcpy(vcpu->info + INFO_CR2, &address, 8);
    bounce_exception(context, VECTOR_PF, error_code, general_registers(context)[RIP]);
}

/* Whether the hypervisor has emulated an instruction: a privileged one, or a forced emulation. */
static int is_emulated(struct trap_context *context, uint32_t vector, uint32_t error_code)
{
    return (vector == VECTOR_GP || vector == VECTOR_UD) && context->on_fault(vector, error_code, 0);
}

#endif
