/*
 * Making KVM see what the hypervisor has changed in page tables, on hosts where it runs guests on copies of them.
 *
 * There KVM notices the guest's stores to its tables, by whatever privilege level, and nobody else's. So a few
 * instructions in ring 0, which KVM emulates, add 0 to each changed entry: it then drops its copy.
 */
#ifndef XENOLITH_KVM_SHADOW_TABLES_H
#define XENOLITH_KVM_SHADOW_TABLES_H

#include "registers.h"

#include "../../pv_traps/guest_memory.h"

#define ENTRY_CODE_BYTES 14

int xenolith_kvm_enter(struct trap_context *context);

static int run_in_ring_0(struct trap_context *context)
{
    struct vcpu *vcpu = context->vcpu;
    struct kvm_run *run = vcpu->engine.run;
    struct kvm_segment code = special(context)->cs, stack = special(context)->ss;
    int result;

    load_segment(&special(context)->cs, RING0_CS, 0xffff, DESC_RING0_CS);
    load_segment(&special(context)->ss, RING0_SS, 0xffff, DESC_RING0_SS);
    special(context)->cr3 = root_in_use(context);
    run->s.regs.regs.rip = context->engine.rewriting_address;
    run->s.regs.regs.rflags = 2;
    run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
    do
        result = xenolith_kvm_enter(context);
    while (result == KVM_EXIT_INTR);
    special(context)->cs = code;
    special(context)->ss = stack;
    return result == KVM_EXIT_IO && run->io.port == DONE_PORT ? 0 : result;
}

/* Drop KVM's copies of the entries that have changed; an exit that nobody expects, or 0. */
static int rewrite_changed_entries(struct trap_context *context)
{
    static const uint8_t done[] = { 0xe6, DONE_PORT, 0xeb, 0xfe };
    struct table_changes *changes = context->engine.changes;
    uint64_t most = (context->engine.rewriting_size - sizeof(done)) / ENTRY_CODE_BYTES;
    uint64_t at = 0;

    if (changes->too_many) {
        changes->too_many = 0;
        changes->count = 0;
        context->engine.on_too_many_changes();
        return 0;
    }
    while (at < changes->count) {
        uint64_t end = changes->count - at < most ? changes->count : at + most;
        uint8_t *code = context->engine.rewriting;
        int result;

        for (; at < end; at++) {
            uint64_t entry = context->engine.all_memory + changes->entries[at];

            /* mov rax, entry; add qword [rax], 0 */
            memcpy(code, "\x48\xb8", 2);
            memcpy(code + 2, &entry, 8);
            memcpy(code + 10, "\x48\x83\x00\x00", 4);
            code += ENTRY_CODE_BYTES;
        }
        memcpy(code, done, sizeof(done));
        result = run_in_ring_0(context);
        if (result)
            return result;
    }
    context->engine.counts[COUNT_REWRITTEN] += changes->count;
    changes->count = 0;
    return 0;
}

#endif
