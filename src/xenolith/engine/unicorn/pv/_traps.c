/*
 * The hooks by which a PV guest's traps reach its own kernel: exceptions, SYSCALL, the iret hypercall, events.
 *
 * They do what Xen's entry.S does (create_bounce_frame, switch_to_kernel, test_guest_events) and its do_iret(), and are
 * C because they are hot: a system call of a guest's program is two of them, a page fault another two. Python is
 * entered only for what the hypervisor has to decide.
 *
 * The guest's kernel runs at CPL 1, its programs at CPL 3. So the emulator, which keeps apart what it has translated
 * for CPL 3 and for all others, needs not forget either at each change of the page tables between the two. For this
 * Xen's flat segments are of level 1 in the descriptor table that the kernel is shown; all others are of level 3.
 * Where a kernel does what only works at the privilege level of those, it runs at CPL 3 up to its next trap.
 */
#include "bounce.h"

/* Read guest-virtual memory by the page tables in use, while the vCPU stands still; whether it is all there. */
int xenolith_pv_read(const struct trap_context *context, uint64_t address, void *data, uint64_t size)
{
    return copy(context, address, data, size, 0);
}

/* For those who hand the structures in: built from another version of this file, they would be something else. */
uint64_t xenolith_pv_sizes(void)
{
    return (uint64_t)sizeof(struct trap_context) << 32 | sizeof(struct vcpu);
}

void xenolith_pv_resume(struct trap_context *context)
{
    resume(context);
}

/* Deliver an exception to the guest's kernel; called while the vCPU stands still. */
void xenolith_pv_inject(struct trap_context *context, uint32_t vector, uint32_t error_code)
{
    bounce_exception(context, vector, error_code, *context->rip);
}

/* Load DS, ES, FS or GS, with a null selector where the processor would fault; whether it would not. */
int xenolith_pv_load_data_segment(struct trap_context *context, int number, uint32_t selector)
{
    return load_data_segment(context, number, selector);
}

/* Have the guest's kernel mend these selectors, some of which could not be loaded. */
void xenolith_pv_fail_safe(struct trap_context *context, uint64_t ds, uint64_t es, uint64_t fs, uint64_t gs)
{
    uint64_t selectors[4] = { ds, es, fs, gs };

    fail_safe(context, selectors);
}

/*
 * The vCPU goes on after another one. Xen loads its data segments anew; here their descriptors are only looked at, and
 * the bases are those that it had.
 */
void xenolith_pv_reload_data_segments(struct trap_context *context)
{
    static const int numbers[4] = { SEG_DS, SEG_ES, SEG_FS, SEG_GS };
    uint64_t selectors[4];
    int index, failed = 0;

    for (index = 0; index < 4; index++) {
        struct segment *segment = &context->segments[numbers[index]], before = *segment;

        selectors[index] = before.selector & 0xffff;
        if (!load_data_segment(context, numbers[index], before.selector))
            failed = 1;
        else
            *segment = before;
    }
    if (failed)
        fail_safe(context, selectors);
}

/* Load CS and SS for a vCPU that starts in kernel or user mode; 0 where they name no such segments. */
int xenolith_pv_start(struct trap_context *context, uint32_t code, uint32_t stack)
{
    uint32_t cpl = context->vcpu->in_kernel ? KERNEL_CPL : USER_CPL;

    if ((code | 3) == FLAT_CS64 && (stack | 3) == FLAT_SS) {
        load_flat_segments(context, FLAT_CS64, cpl);
        return 1;
    }
    if (!load_code_segment(context, code | 3) || !load_stack_segment(context, stack | 3))
        return 0;
    update_hflags(context, cpl);
    return 1;
}

/* HYPERVISOR_iret: the guest's kernel returns from a trap by the frame at its RSP. */
static void do_iret(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    struct {
        uint64_t rax, r11, rcx, flags, rip, cs, rflags, rsp, ss;
    } frame;
    uint32_t cpl = KERNEL_CPL;

    if (!copy(context, context->registers[RSP], &frame, sizeof(frame), 0)) {
        crash(context, BAD_IRET_FRAME, context->registers[RSP]);
        return;
    }
    if ((frame.cs & 3) == 3) {
        if (!vcpu->roots[0]) {
            crash(context, NO_USER_PAGE_TABLE, frame.rip);
            return;
        }
        toggle_mode(context);
        cpl = USER_CPL;
    }
    context->registers[RAX] = frame.rax;
    context->registers[RSP] = frame.rsp;
    *context->rip = frame.rip;
    vcpu->info[INFO_MASK] = !(frame.rflags & EFLAGS_IF);
    vcpu->nmi_masked = 0;
    write_flags(context, frame.rflags & ~(uint64_t)EFLAGS_NT);
    if (frame.flags & VGCF_IN_SYSCALL) {
        /* by SYSRET, which takes RIP from RCX and the flags from R11 */
        context->registers[RCX] = frame.rip;
        context->registers[R11] = read_flags(context);
        load_flat_segments(context, (frame.cs & 0xffff) == FLAT_CS32 ? FLAT_CS32 : FLAT_CS64, cpl);
        return;
    }
    context->registers[RCX] = frame.rcx;
    context->registers[R11] = frame.r11;
    if (((frame.cs | 3) & 0xffff) == FLAT_CS64 && ((frame.ss | 3) & 0xffff) == FLAT_SS) {
        load_flat_segments(context, FLAT_CS64, cpl);
        return;
    }
    if (!load_code_segment(context, (frame.cs | 3) & 0xffff)) {
        load_flat_segments(context, FLAT_CS64, cpl);
        context->segments[SEG_CS].selector = (frame.cs | 3) & 0xffff;
        bounce_exception(context, VECTOR_GP, frame.cs & 0xfffc, frame.rip);
        return;
    }
    if (!load_stack_segment(context, (frame.ss | 3) & 0xffff)) {
        load_segment(&context->segments[SEG_SS], (frame.ss | 3) & 0xffff, 0, 0);
        update_hflags(context, cpl);
        bounce_exception(context, VECTOR_GP, frame.ss & 0xfffc, frame.rip);
        return;
    }
    update_hflags(context, cpl);
}

/* SYSCALL out of a program */
static void system_call(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    int is_64bit = (*context->hflags & HFLAG_CS64) != 0;
    struct gate *gate = &vcpu->callbacks[is_64bit ? CALLBACK_SYSCALL : CALLBACK_SYSCALL32];
    struct origin origin = here(context);

    if (!gate->address) {
        bounce_exception(context, VECTOR_UD, 0, *context->rip);
        return;
    }
    origin.rip += SYSCALL_BYTES;
    origin.cs = is_64bit ? FLAT_CS64 : FLAT_CS32;
    origin.ss = FLAT_SS;
    context->registers[RCX] = origin.rip;
    context->registers[R11] = origin.rflags;
    if (bounce(context, gate, &origin, NULL, 0))
        write_flags(context, read_flags(context) & ~(uint64_t)EFLAGS_DF);
}

/* Ask native code of the hypervisor's first; whether the trap is done with. */
static int call_natively(struct trap_context *context, native_call *call, uint64_t address)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t rflags = context->read_eflags(context->env);
    struct native_trap trap = {
        .registers = context->registers,
        .roots = vcpu->roots,
        .kernel_stack = &vcpu->kernel_sp,
        .fs_base = &context->segments[SEG_FS].base,
        .gs_base_user = &vcpu->other_gs_base,
        .gs_base_kernel = &context->segments[SEG_GS].base,
        .address = address,
        .rflags = rflags,
    };
    int done = call(context->native_self, &trap);

    context->control[3] = vcpu->roots[1];
    if (trap.rflags != rflags)
        context->write_eflags(context->env, trap.rflags, EFLAGS_ARITHMETIC);
    if (trap.forget == FORGET_ALL)
        context->flush_tlb(context->cpu);
    else if (trap.forget == FORGET_PAGE)
        context->flush_page(context->cpu, trap.forget_page);
    return done;
}

static void hypercall(struct trap_context *context)
{
    leave_cpl3(context);
    *context->rip += SYSCALL_BYTES;
    if ((uint32_t)context->registers[RAX] == HYPERCALL_IRET) {
        do_iret(context);
        return;
    }
    load_flat_segments(context, FLAT_CS64, KERNEL_CPL);
    if (!context->native_hypercall || !call_natively(context, context->native_hypercall, 0))
        context->on_hypercall();
    context->registers[RCX] = *context->rip;
    context->registers[R11] = read_flags(context);
}

/* UC_HOOK_INSN for SYSCALL; the library adds its length to RIP afterwards */
void xenolith_pv_on_syscall(void *uc, struct trap_context *context)
{
    (void)uc;
    if (context->vcpu->in_kernel)
        hypercall(context);
    else
        system_call(context);
    resume(context);
    *context->rip -= SYSCALL_BYTES;
}

/* UC_HOOK_INSN for SYSENTER out of a 32-bit program, which says nothing of where it was; its length is added as above */
void xenolith_pv_on_sysenter(void *uc, struct trap_context *context)
{
    struct gate *gate = &context->vcpu->callbacks[CALLBACK_SYSENTER];
    struct origin origin = here(context);

    (void)uc;
    if (context->vcpu->in_kernel || !gate->address) {
        bounce_exception(context, VECTOR_GP, 0, origin.rip);
    } else {
        origin.rip = origin.rsp = 0;
        origin.cs = 3;
        origin.ss = FLAT_SS;
        origin.rflags &= ~(uint64_t)EFLAGS_NT;
        bounce(context, gate, &origin, NULL, 0);
    }
    resume(context);
    *context->rip -= SYSCALL_BYTES;
}

/* INT n: gates have a privilege level; a guest's kernel has them all */
static void software_interrupt(struct trap_context *context, uint32_t vector, uint64_t next)
{
    struct vcpu *vcpu = context->vcpu;

    if (vector != VECTOR_BP && vector != VECTOR_OF && !vcpu->in_kernel && vcpu->traps[vector].dpl < 3)
        bounce_exception(context, VECTOR_GP, vector * 8 + 2, next - INT_BYTES);
    else
        bounce_exception(context, vector, 0, next);
}

static void page_fault(struct trap_context *context, uint32_t error_code)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t address = context->control[2];

    if (vcpu->in_kernel) {
        error_code &= ~PF_USER;
        if ((error_code & (PF_PRESENT | PF_WRITE)) == (PF_PRESENT | PF_WRITE)
            && ((context->native_store && call_natively(context, context->native_store, address))
                || context->on_fault(VECTOR_PF, error_code, address)))
            return;
    }
    memcpy(vcpu->info + INFO_CR2, &address, 8);
    bounce_exception(context, VECTOR_PF, error_code, *context->rip);
}

/* A breakpoint is a fault before the instruction, which is not to strike again; a single step, a trap behind it. */
static void debug_exception(struct trap_context *context)
{
    struct origin origin = here(context);

    if (!(origin.rflags & EFLAGS_TF))
        origin.rflags |= EFLAGS_RF;
    bounce(context, &context->vcpu->traps[VECTOR_DB], &origin, NULL, 0);
}

static void other_exception(struct trap_context *context, uint32_t vector, uint32_t error_code)
{
    struct vcpu *vcpu = context->vcpu;
    int at_cpl1 = vcpu->in_kernel && (*context->hflags & HFLAG_CPL) == KERNEL_CPL;

    if (vector == VECTOR_DB) {
        debug_exception(context);
        return;
    }
    if (vector == VECTOR_NM) {
        uint32_t cr0 = context->control[0];

        context->update_cr0(context->env, cr0 & ~CR0_TS);
        bounce_exception(context, vector, 0, *context->rip);
        return;
    }
    if (vector == VECTOR_GP || vector == VECTOR_UD) {
        if (context->on_fault(vector, error_code, 0))
            return;
    }
    if (at_cpl1 && vector >= 10 && vector <= VECTOR_GP) {
        /* it may be about privilege levels: let the processor decide where they are what they look like */
        enter_cpl3(context);
        return;
    }
    bounce_exception(context, vector, error_code, *context->rip);
}

/* UC_HOOK_INTR */
void xenolith_pv_on_interrupt(void *uc, uint32_t vector, struct trap_context *context)
{
    uint32_t error_code = (uint32_t)context->exception_is_int[-1];
    uint64_t next;

    (void)uc;
    memcpy(&next, context->exception_is_int + 1, 8);
    *context->old_exception = -1;
    if (*context->exception_is_int) {
        *context->exception_is_int = 0;
        software_interrupt(context, vector & 0xff, next);
    } else if (vector == VECTOR_PF) {
        page_fault(context, error_code);
    } else {
        other_exception(context, vector & 0xff, error_code);
    }
    resume(context);
}

/* UC_HOOK_INSN_INVALID */
int xenolith_pv_on_invalid_instruction(void *uc, struct trap_context *context)
{
    xenolith_pv_on_interrupt(uc, VECTOR_UD, context);
    return 1;
}

/* UC_HOOK_INSN for IN and INS, OUT and OUTS: the library would do them for anybody; #GP leaves by siglongjmp() */
uint32_t xenolith_pv_on_port_read(void *uc, uint32_t port, int size, struct trap_context *context)
{
    (void)uc, (void)port, (void)size;
    context->raise(context->env, VECTOR_GP, 0, 0, 0);
    return 0;
}

void xenolith_pv_on_port_write(void *uc, uint32_t port, int size, uint32_t value, struct trap_context *context)
{
    (void)uc, (void)port, (void)size, (void)value;
    context->raise(context->env, VECTOR_GP, 0, 0, 0);
}

/* UC_HOOK_INSN for CPUID, done by the hypervisor's policy; 1: not by the emulator */
int xenolith_pv_on_cpuid(void *uc, struct trap_context *context)
{
    (void)uc;
    context->on_cpuid();
    return 1;
}

/* UC_HOOK_MEM_*_UNMAPPED on addresses that physical ones never are; for its side effect, see _hooks.c */
int xenolith_pv_on_unmapped(void *uc, int type, uint64_t address, int size, int64_t value,
                            struct trap_context *context)
{
    (void)uc, (void)type, (void)address, (void)size, (void)value, (void)context;
    return 0;
}
