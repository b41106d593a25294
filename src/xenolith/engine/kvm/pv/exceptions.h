/*
 * What a PV guest's traps come to: hypercalls, system calls and exceptions, the vCPU's registers those of the guest.
 */
#ifndef XENOLITH_KVM_EXCEPTIONS_H
#define XENOLITH_KVM_EXCEPTIONS_H

#include "bounce.h"

/* Ask native code of the hypervisor's first; whether the trap is done with. */
static int call_natively(struct trap_context *context, native_call *call, uint64_t address)
{
    struct vcpu *vcpu = context->vcpu;
    struct native_trap trap = {
        .registers = vcpu->registers,
        .roots = vcpu->roots,
        .kernel_stack = &vcpu->kernel_sp,
        .fs_base = (uint64_t *)&special(context)->fs.base,
        .gs_base_user = &vcpu->other_gs_base,
        .gs_base_kernel = (uint64_t *)&special(context)->gs.base,
        .address = address,
        .rflags = vcpu->rflags,
    };
    int done = call(context->native_self, &trap);

    vcpu->rflags = trap.rflags;
    if (trap.forget != FORGET_NOTHING)
        context->flushes++;
    return done;
}

static void hypercall(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;

    context->counts[COUNT_HYPERCALLS]++;
    if ((uint32_t)vcpu->registers[RAX] == HYPERCALL_IRET) {
        do_iret(context);
        return;
    }
    load_flat_segments(context, FLAT_CS64);
    if (!context->native_hypercall || !call_natively(context, context->native_hypercall, 0))
        context->on_hypercall();
    vcpu->registers[RCX] = vcpu->registers[RIP];
    vcpu->registers[R11] = read_flags(context);
}

static void system_call(struct trap_context *context, int is_64bit)
{
    struct vcpu *vcpu = context->vcpu;
    struct gate *gate = &vcpu->callbacks[is_64bit ? CALLBACK_SYSCALL : CALLBACK_SYSCALL32];
    struct origin origin;

    context->counts[COUNT_SYSCALLS]++;
    if (!gate->address) {
        bounce_exception(context, VECTOR_UD, 0, vcpu->registers[RIP] - SYSCALL_BYTES);
        return;
    }
    origin = here(context);
    origin.cs = is_64bit ? FLAT_CS64 : FLAT_CS32;
    origin.ss = FLAT_SS;
    if (bounce(context, gate, &origin, NULL, 0))
        write_flags(context, vcpu->rflags & ~(uint64_t)EFLAGS_DF);
}

/* INT n: gates have a privilege level; a guest's kernel has them all */
static void software_interrupt(struct trap_context *context, uint32_t vector, uint64_t next)
{
    struct vcpu *vcpu = context->vcpu;

    if (vector != VECTOR_BP && vector != VECTOR_OF && !vcpu->in_kernel && vcpu->traps[vector].dpl < 3)
        bounce_exception(context, VECTOR_GP, vector * 8 + GP_IDT, next - INT_BYTES);
    else
        bounce_exception(context, vector, 0, next);
}

static void page_fault(struct trap_context *context, uint32_t error_code)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t address = special(context)->cr2;

    context->counts[COUNT_PAGE_FAULTS]++;
    error_code &= PF_KNOWN;
    if (vcpu->in_kernel) {
        error_code &= ~PF_USER;
        if ((error_code & (PF_PRESENT | PF_WRITE)) == (PF_PRESENT | PF_WRITE)
            && ((context->native_store && call_natively(context, context->native_store, address))
                || context->on_fault(VECTOR_PF, error_code, address)))
            return;
    }
    memcpy(vcpu->info + INFO_CR2, &address, 8);
    bounce_exception(context, VECTOR_PF, error_code, vcpu->registers[RIP]);
}

/* SYSENTER out of a 32-bit program, which says nothing of where it was */
static void sysenter(struct trap_context *context)
{
    struct gate *gate = &context->vcpu->callbacks[CALLBACK_SYSENTER];
    struct origin origin = here(context);

    if (!gate->address) {
        bounce_exception(context, VECTOR_GP, 0, origin.rip);
        return;
    }
    origin.rip = origin.rsp = 0;
    origin.cs = 3;
    origin.ss = FLAT_SS;
    origin.rflags &= ~(uint64_t)EFLAGS_NT;
    bounce(context, gate, &origin, NULL, 0);
}

/*
 * INT n is #GP for want of a gate. On KVMs that emulate ring 0, and with it 32-bit code, it is #UD, and so are other
 * instructions there that are meant to trap, or #GP without an error code.
 */
static int might_be_software(const struct trap_context *context, uint32_t vector, uint32_t error_code)
{
    if (vector == VECTOR_GP)
        return error_code ? (error_code & (GP_IDT | GP_EXTERNAL)) == GP_IDT : !context->vcpu->in_kernel;
    return vector == VECTOR_UD;
}

/* Handle an instruction that is meant to trap, by what it is: there are processors with a wrong error code for INT n. */
static int is_software(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t rip = vcpu->registers[RIP];
    uint8_t code[INT_BYTES] = { 0 };

    if (!copy(context, rip, code, sizeof(code), 0) && !copy(context, rip, code, 1, 0))
        return 0;
    if (code[0] == INT3_OPCODE) {
        software_interrupt(context, VECTOR_BP, rip + 1);
    } else if (code[0] == INT_OPCODE) {
        software_interrupt(context, code[1], rip + INT_BYTES);
    } else if (special(context)->cs.l || vcpu->in_kernel) {
        return 0;
    } else if (code[0] == INTO_OPCODE) {
        software_interrupt(context, VECTOR_OF, rip + 1);
    } else if (code[0] == 0x0f && code[1] == 0x34) {
        sysenter(context);
    } else if (code[0] == 0x0f && code[1] == 0x05) {
        vcpu->registers[RIP] = vcpu->registers[RCX] = rip + SYSCALL_BYTES;
        vcpu->registers[R11] = read_flags(context);
        system_call(context, 0);
    } else {
        return 0;
    }
    return 1;
}

static void exception(struct trap_context *context, uint32_t vector, uint32_t error_code)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t rip = vcpu->registers[RIP];

    if (vector == VECTOR_PF) {
        page_fault(context, error_code);
        return;
    }
    context->counts[COUNT_OTHERS]++;
    if (vector == VECTOR_NM)
        special(context)->cr0 &= ~(uint64_t)CR0_TS;
    if (might_be_software(context, vector, error_code) && is_software(context))
        return;
    if ((vector == VECTOR_GP || vector == VECTOR_UD) && context->on_fault(vector, error_code, 0))
        return;
    bounce_exception(context, vector, error_code, rip);
}

#endif
