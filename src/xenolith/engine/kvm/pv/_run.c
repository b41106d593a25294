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

#include "../../pv_traps/entry_points.h"

enum { REASON_ERRNO = 0x1000, DONE = 0 };

static void store_state(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    struct kvm_run *run = vcpu->engine.run;
    uint64_t *general = (uint64_t *)&run->s.regs.regs;
    int index;

    for (index = 0; index < 8; index++)
        general[order[index]] = vcpu->engine.registers[index];
    memcpy(general + 8, vcpu->engine.registers + 8, 8 * 8);
    run->s.regs.regs.rip = vcpu->engine.registers[RIP];
    run->s.regs.regs.rflags = vcpu->engine.rflags;
    run->s.regs.sregs.cr3 = root_in_use(context);
    run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
}

/* KVM_RUN: KVM's reason for the exit, KVM_EXIT_INTR after a signal, REASON_ERRNO and more after an error */
int xenolith_kvm_enter(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;

    context->engine.counts[COUNT_ENTRIES]++;
    if (!ioctl(vcpu->engine.fd, KVM_RUN, 0))
        return vcpu->engine.run->exit_reason;
    if (errno != EINTR && errno != EAGAIN)
        return REASON_ERRNO + errno;
    vcpu->engine.run->immediate_exit = 0;
    return KVM_EXIT_INTR;
}

/* After a signal: whether a trap is on its way, so that registers are not the guest's. */
static int is_trapping(const struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    uint64_t rip = vcpu->engine.run->s.regs.regs.rip;
    struct kvm_vcpu_events events;

    if (is_in(rip, context->engine.trap_stubs) || is_in(rip, context->engine.call_stubs))
        return 1;
    if (ioctl(vcpu->engine.fd, KVM_GET_VCPU_EVENTS, &events))
        return 0;
    return events.exception.injected || events.exception.pending;
}

/* IN and OUT of the guest's own, which some KVMs let ring 3 do: as if it had faulted */
static void port_access(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    struct kvm_run *run = vcpu->engine.run;
    uint64_t rip;
    uint8_t code[3] = { 0 };

    load_state(vcpu);
    write_flags(context, vcpu->engine.rflags);
    rip = vcpu->engine.registers[RIP];
    if (run->io.direction == KVM_EXIT_IO_IN) {
        /* have KVM finish it; registers are still those before it */
        struct kvm_sregs before = *special(context);

        run->immediate_exit = 1;
        ioctl(vcpu->engine.fd, KVM_RUN, 0);
        run->immediate_exit = 0;
        *special(context) = before;
    } else if (context->engine.moves_rip && copy(context, rip - 2, code + 1, 2, 0)) {
        /* with the port in DX, or in a byte */
        int length = (code[2] & 0xfe) == 0xee || (code[2] & 0xfe) == 0x6e ? 1 : 2;

        copy(context, rip - 3, code, 1, 0);
        if (code[2 - length] == 0x66 || code[2 - length] == 0xf3)
            length++;
        rip -= length;
    }
    vcpu->engine.registers[RIP] = rip;
    exception(context, VECTOR_GP, 0);
}

/* What there is to do before the guest goes on with other page tables; an exit that nobody expects, or DONE. */
static int flush(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;

    if (vcpu->engine.flushed == context->engine.flushes)
        return DONE;
    vcpu->engine.flushed = context->engine.flushes;
    if (context->engine.changes)
        return rewrite_changed_entries(context);
    /* KVM forgets all translations when control registers change; this bit is of no consequence in ring 3 */
    special(context)->cr4 ^= CR4_DE;
    return DONE;
}

/* Whether the vCPU can be where it is: an address, and in 32-bit code one of 32 bits. */
static int is_somewhere(const struct trap_context *context)
{
    uint64_t rip = context->vcpu->engine.registers[RIP];

    if (!is_64bit_code(segment(context, SEG_CS)))
        return !(rip >> 32);
    return (uint64_t)((int64_t)(rip << 16) >> 16) == rip;
}

/* Run the vCPU until context->engine.stopping; an exit that nobody expects, or DONE. */
int xenolith_kvm_pv_run(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;

    for (;;) {
        int reason;
        uint64_t rip;

        if (!context->engine.stopping)
            deliver_pending(context);
        if (context->engine.stopping)
            return DONE;
        if (!is_somewhere(context)) {
            /* a program's kernel may return there for it; there are processors that refuse to be entered so */
            bounce_exception(context, VECTOR_GP, 0, vcpu->engine.registers[RIP]);
            continue;
        }
        reason = flush(context);
        if (reason)
            return reason;
        store_state(context);
        do
            reason = xenolith_kvm_enter(context);
        while (reason == KVM_EXIT_INTR && is_trapping(context));
        rip = vcpu->engine.run->s.regs.regs.rip;
        switch (reason) {
        case KVM_EXIT_IO:
            if (is_in(rip, context->engine.trap_stubs))
                trap(context);
            else if (is_in(rip, context->engine.call_stubs))
                syscall(context, vcpu->engine.run->io.port == SYSCALL_PORT);
            else
                port_access(context);
            break;
        case KVM_EXIT_INTR:
        case KVM_EXIT_IRQ_WINDOW_OPEN:
            load_state(vcpu);
            write_flags(context, vcpu->engine.rflags);
            break;
        default:
            load_state(vcpu);
            return reason;
        }
    }
}
