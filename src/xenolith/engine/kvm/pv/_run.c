/*
 * Runs a PV vCPU on KVM, and has its traps reach its own kernel: exceptions, SYSCALL, the iret hypercall, events.
 *
 * Kernel and programs are in ring 3. A trap enters ring 0 at an instruction that makes KVM exit, OUT to the port of its
 * vector's number; what it was about is then on the stack of ring 0, in memory of the engine's. From there on this does
 * what Xen's entry.S does, and enters the guest again where its kernel handles the trap. It is C because it is hot;
 * Python is entered only for what the hypervisor has to decide.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "host_cpu.h"
#include "shadow_tables.h"

enum { REASON_ERRNO = 0x1000, DONE = 0 };

/* For those who hand the structures in: built from another version of this file, they would be something else. */
uint64_t xenolith_kvm_pv_sizes(void)
{
    return (uint64_t)sizeof(struct trap_context) << 32 | sizeof(struct vcpu);
}

/* Deliver an exception to the guest's kernel; called while the vCPU stands still. */
void xenolith_kvm_pv_inject(struct trap_context *context, uint32_t vector, uint32_t error_code)
{
    bounce_exception(context, vector, error_code, context->vcpu->registers[RIP]);
}

/* Load a data segment, with a null selector where the processor would fault. */
void xenolith_kvm_pv_load_data_segment(struct trap_context *context, struct kvm_segment *segment, uint32_t selector)
{
    uint64_t descriptor = selector & 0xfffc ? read_descriptor(context, selector) : 0;
    uint32_t high = descriptor >> 32;

    if ((high & (DESC_PRESENT | DESC_S)) == (DESC_PRESENT | DESC_S))
        load_segment(segment, selector, (uint32_t)descriptor, high);
    else
        load_segment(segment, 0, 0, 0);
}

/* Load CS and SS for a vCPU that starts; 0 where they name no such segments. */
int xenolith_kvm_pv_start(struct trap_context *context, uint32_t code, uint32_t stack)
{
    if ((code | 3) == FLAT_CS64 && (stack | 3) == FLAT_SS) {
        load_flat_segments(context, FLAT_CS64);
        return 1;
    }
    return load_code_segment(context, code | 3) && load_stack_segment(context, stack | 3);
}

/* KVM's order of general registers, in that of instructions */
static const uint8_t order[8] = { 0, 2, 3, 1, 6, 7, 4, 5 };

static void store_state(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    struct kvm_run *run = vcpu->run;
    uint64_t *general = (uint64_t *)&run->s.regs.regs;
    int index;

    for (index = 0; index < 8; index++)
        general[order[index]] = vcpu->registers[index];
    memcpy(general + 8, vcpu->registers + 8, 8 * 8);
    run->s.regs.regs.rip = vcpu->registers[RIP];
    run->s.regs.regs.rflags = vcpu->rflags;
    run->s.regs.sregs.cr3 = root_in_use(context);
    run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
}

static void load_state(struct vcpu *vcpu)
{
    const uint64_t *general = (const uint64_t *)&vcpu->run->s.regs.regs;
    int index;

    for (index = 0; index < 8; index++)
        vcpu->registers[index] = general[order[index]];
    memcpy(vcpu->registers + 8, general + 8, 8 * 8);
    vcpu->registers[RIP] = vcpu->run->s.regs.regs.rip;
    vcpu->rflags = vcpu->run->s.regs.regs.rflags;
}

/* KVM_RUN: KVM's reason for the exit, KVM_EXIT_INTR after a signal, REASON_ERRNO and more after an error */
int xenolith_kvm_enter(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;

    context->counts[COUNT_ENTRIES]++;
    if (!ioctl(vcpu->fd, KVM_RUN, 0))
        return vcpu->run->exit_reason;
    if (errno != EINTR && errno != EAGAIN)
        return REASON_ERRNO + errno;
    vcpu->run->immediate_exit = 0;
    return KVM_EXIT_INTR;
}

static int is_in(uint64_t rip, uint64_t page)
{
    return rip - page < PAGE_SIZE;
}

/* After a signal: whether a trap is on its way, so that registers are not the guest's. */
static int is_trapping(const struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t rip = vcpu->run->s.regs.regs.rip;
    struct kvm_vcpu_events events;

    if (is_in(rip, context->trap_stubs) || is_in(rip, context->call_stubs))
        return 1;
    if (ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &events))
        return 0;
    return events.exception.injected || events.exception.pending;
}

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
    if (bounce(context, gate, &origin, 0, 0))
        write_flags(context, vcpu->rflags & ~(uint64_t)EFLAGS_DF);
}

/* SYSCALL has left RIP in RCX and the flags in R11. */
static void syscall(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    int is_64bit = vcpu->run->io.port == SYSCALL_PORT;

    load_state(vcpu);
    vcpu->registers[RIP] = vcpu->registers[RCX];
    write_flags(context, vcpu->registers[R11]);
    load_flat_segments(context, is_64bit ? FLAT_CS64 : FLAT_CS32);
    if (vcpu->in_kernel)
        hypercall(context);
    else
        system_call(context, is_64bit);
}

/* INT n: gates have a privilege level; a guest's kernel has them all */
static void software_interrupt(struct trap_context *context, uint32_t vector, uint64_t next)
{
    struct vcpu *vcpu = context->vcpu;

    if (vector != VECTOR_BP && !vcpu->in_kernel && vcpu->traps[vector].dpl < 3)
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

/* #UD for an instruction that is a trap: KVMs that emulate ring 0, and with it 32-bit code, know none of these there */
static int is_unknown_trap(struct trap_context *context)
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
    } else if (code[0] == 0x0f && code[1] == 0x05 && !special(context)->cs.l && !vcpu->in_kernel) {
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
    if (vector == VECTOR_GP && (error_code & (GP_IDT | GP_EXTERNAL)) == GP_IDT) {
        software_interrupt(context, error_code >> 3 & 0xff, rip + INT_BYTES);
        return;
    }
    if (vector == VECTOR_UD && is_unknown_trap(context))
        return;
    if (((vector == VECTOR_GP && vcpu->in_kernel) || vector == VECTOR_UD)
        && context->on_fault(vector, error_code, 0))
        return;
    bounce_exception(context, vector, error_code, rip);
}

static void trap(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    const uint64_t *end = vcpu->trap_frame;
    uint32_t vector = vcpu->run->io.port;
    int has_error_code = vector < 32 && PUSHES_ERROR_CODE >> vector & 1;

    load_state(vcpu);
    vcpu->registers[RIP] = end[-5];
    vcpu->registers[RSP] = end[-2];
    write_flags(context, end[-3]);
    if ((end[-4] & 0xffff) == FLAT_CS64 && (end[-1] & 0xffff) == FLAT_SS) {
        load_flat_segments(context, FLAT_CS64);
    } else {
        if (!load_code_segment(context, end[-4] & 0xffff))
            load_flat_segments(context, FLAT_CS64);
        if (!load_stack_segment(context, end[-1] & 0xffff))
            load_null_stack_segment(&special(context)->ss, end[-1] & 0xffff);
    }
    exception(context, vector, has_error_code ? (uint32_t)end[-6] : 0);
}

/* IN and OUT of the guest's own, which some KVMs let ring 3 do: as if it had faulted */
static void port_access(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    struct kvm_run *run = vcpu->run;
    uint64_t rip;
    uint8_t code[3] = { 0 };

    load_state(vcpu);
    write_flags(context, vcpu->rflags);
    rip = vcpu->registers[RIP];
    if (run->io.direction == KVM_EXIT_IO_IN) {
        /* have KVM finish it; registers are still those before it */
        struct kvm_sregs before = *special(context);

        run->immediate_exit = 1;
        ioctl(vcpu->fd, KVM_RUN, 0);
        run->immediate_exit = 0;
        *special(context) = before;
    } else if (context->moves_rip && copy(context, rip - 2, code + 1, 2, 0)) {
        /* with the port in DX, or in a byte */
        int length = (code[2] & 0xfe) == 0xee || (code[2] & 0xfe) == 0x6e ? 1 : 2;

        copy(context, rip - 3, code, 1, 0);
        if (code[2 - length] == 0x66 || code[2 - length] == 0xf3)
            length++;
        rip -= length;
    }
    vcpu->registers[RIP] = rip;
    exception(context, VECTOR_GP, 0);
}

/* What there is to do before the guest goes on with other page tables; an exit that nobody expects, or DONE. */
static int flush(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;

    if (vcpu->flushed == context->flushes)
        return DONE;
    vcpu->flushed = context->flushes;
    if (context->changes)
        return rewrite_changed_entries(context);
    /* KVM forgets all translations when control registers change; this bit is of no consequence in ring 3 */
    special(context)->cr4 ^= CR4_DE;
    return DONE;
}

/* Run the vCPU until context->stopping; an exit that nobody expects, or DONE. */
int xenolith_kvm_pv_run(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;

    for (;;) {
        int reason;
        uint64_t rip;

        if (!context->stopping)
            resume(context);
        if (context->stopping)
            return DONE;
        reason = flush(context);
        if (reason)
            return reason;
        store_state(context);
        do
            reason = xenolith_kvm_enter(context);
        while (reason == KVM_EXIT_INTR && is_trapping(context));
        rip = vcpu->run->s.regs.regs.rip;
        switch (reason) {
        case KVM_EXIT_IO:
            if (is_in(rip, context->trap_stubs))
                trap(context);
            else if (is_in(rip, context->call_stubs))
                syscall(context);
            else
                port_access(context);
            break;
        case KVM_EXIT_INTR:
        case KVM_EXIT_IRQ_WINDOW_OPEN:
            load_state(vcpu);
            write_flags(context, vcpu->rflags);
            break;
        default:
            load_state(vcpu);
            return reason;
        }
    }
}
