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

#include "entries.h"
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

int xenolith_kvm_pv_load_data_segment(struct trap_context *context, struct kvm_segment *segment, uint32_t selector)
{
    return load_data_segment(context, segment, selector);
}

/* Have the guest's kernel mend these selectors, some of which could not be loaded. */
void xenolith_kvm_pv_fail_safe(struct trap_context *context, uint64_t ds, uint64_t es, uint64_t fs, uint64_t gs)
{
    uint64_t selectors[4] = { ds, es, fs, gs };

    fail_safe(context, selectors);
}

/*
 * The vCPU goes on after another one. Xen loads its data segments anew; here their descriptors are only looked at, and
 * the bases are those that it had.
 */
void xenolith_kvm_pv_reload_data_segments(struct trap_context *context)
{
    struct kvm_sregs *sregs = special(context);
    struct kvm_segment *segments[4] = { &sregs->ds, &sregs->es, &sregs->fs, &sregs->gs };
    uint64_t selectors[4];
    int index, failed = 0;

    for (index = 0; index < 4; index++) {
        struct kvm_segment before = *segments[index];

        selectors[index] = before.selector;
        if (!load_data_segment(context, segments[index], before.selector))
            failed = 1;
        else
            *segments[index] = before;
    }
    if (failed)
        fail_safe(context, selectors);
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

/* Whether the vCPU can be where it is: an address, and in 32-bit code one of 32 bits. */
static int is_somewhere(const struct trap_context *context)
{
    uint64_t rip = context->vcpu->registers[RIP];

    if (!special(context)->cs.l)
        return !(rip >> 32);
    return (uint64_t)((int64_t)(rip << 16) >> 16) == rip;
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
        if (!is_somewhere(context)) {
            /* a program's kernel may return there for it; there are processors that refuse to be entered so */
            bounce_exception(context, VECTOR_GP, 0, vcpu->registers[RIP]);
            continue;
        }
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
                syscall(context, vcpu->run->io.port == SYSCALL_PORT);
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
