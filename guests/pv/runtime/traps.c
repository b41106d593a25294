/* The trap table, and what becomes of a trap. */
#include "pv.h"
#include "traps.h"

#include <xen/vcpu.h>

extern const uint8_t vectors[256][16], callback_entries[CALLBACKS][64];
extern uint8_t vcpus_stacks[MAX_VCPUS][STACK_BYTES];
void start_vcpu(void);

struct vcpu vcpus[MAX_VCPUS];

static handler_t handlers[CALLBACK_VECTOR + CALLBACKS];
static page_t shared_info_page;
static uint8_t trap_stacks[MAX_VCPUS][STACK_BYTES] __attribute__((aligned(16)));

void set_handler(unsigned int vector, handler_t handler)
{
    handlers[vector] = handler;
}

uint64_t callback_address(unsigned int kind)
{
    return (uint64_t)callback_entries[kind];
}

long register_callback(unsigned int kind, uint64_t address, unsigned int flags)
{
    struct callback_register argument = { .type = kind, .flags = flags, .address = address };

    return hypercall(__HYPERVISOR_callback_op, CALLBACKOP_register, &argument);
}

shared_info_t *shared_info(void)
{
    return (shared_info_t *)&shared_info_page;
}

vcpu_info_t *vcpu_info(unsigned int id)
{
    return &shared_info()->vcpu_info[id];
}

static void fill_table(struct trap_info *table)
{
    for (unsigned int vector = 0; vector < 255; vector++)
        table[vector] = (struct trap_info){
            .vector = vector, .cs = FLAT_CS64, .address = (uint64_t)vectors[vector],
            .flags = vector == BP || vector == OF || vector == 0x80 ? 3 : vector == 0x81,
        };
}

void register_trap(unsigned int vector, unsigned int flags)
{
    struct trap_info table[] = {
        { .vector = vector, .flags = flags, .cs = FLAT_CS64, .address = (uint64_t)vectors[vector] }, { 0 },
    };

    expect_equal(hypercall3(__HYPERVISOR_set_trap_table, (uint64_t)table, 0, 0), 0);
}

void traps_init_vcpu(unsigned int id)
{
    static struct trap_info table[256];

    vcpus[id].self = &vcpus[id];
    vcpus[id].id = id;
    if (id == 0)
        update_va_mapping(&shared_info_page, pv_start_info()->shared_info | P | RW);
    hypercall3(__HYPERVISOR_set_segment_base, SEGBASE_GS_KERNEL, (uint64_t)&vcpus[id], 0);
    hypercall3(__HYPERVISOR_stack_switch, FLAT_DS, (uint64_t)trap_stacks[id] + STACK_BYTES, 0);
    fill_table(table);
    hypercall3(__HYPERVISOR_set_trap_table, (uint64_t)table, 0, 0);
    for (unsigned int kind = 0; kind < CALLBACKS; kind++)
        if (kind != CALLBACKTYPE_sysenter_deprecated && kind != 6)
            register_callback(kind, callback_address(kind), 0);
}

void recover(struct frame *frame)
{
    struct vcpu *vcpu = this_vcpu();
    void **recovery = vcpu->recovery;

    if (!recovery) {
        printk("FAILURE: unexpected vector %#lx, error code %#lx at %#lx, rsp %#lx, cr2 %#lx\n", frame->vector,
               frame->error_code, frame->rip, frame->rsp, vcpu_info(vcpu->id)->arch.cr2);
        shutdown(SHUTDOWN_crash);
    }
    vcpu->fault = (struct fault){
        frame->vector, frame->error_code, frame->rip, vcpu_info(vcpu->id)->arch.cr2, frame->rflags,
        frame->cs, frame->ss, frame->saved_mask,
    };
    vcpu->recovery = NULL;
    __builtin_longjmp(recovery, 1);
}

/* called by vectors.S */
void trap(struct frame *frame)
{
    handler_t handler = handlers[frame->vector];

    if (handler)
        handler(frame);
    else
        recover(frame);
}

struct iret_frame program_frame(uint64_t cs, const void *code)
{
    static uint8_t stack[4096] __attribute__((aligned(16)));

    return (struct iret_frame){
        .rip = (uint64_t)code, .cs = cs, .rflags = EFLAGS_IF, .ss = FLAT_DS, .rsp = (uint64_t)stack + sizeof(stack),
    };
}

void iret(const struct iret_frame *frame)
{
    __asm__ volatile("mov %0, %%rsp; mov %1, %%eax; syscall; ud2" : : "r"(frame), "i"(HYPERCALL_IRET) : "memory");
    __builtin_unreachable();
}

void start_vcpu_at(unsigned int id, void (*function)(void))
{
    static struct vcpu_guest_context context;

    memset(&context, 0, sizeof(context));
    context.flags = VGCF_in_kernel;
    context.user_regs.rip = (uint64_t)start_vcpu;
    context.user_regs.rsp = (uint64_t)vcpus_stacks[id] + STACK_BYTES;
    context.user_regs.cs = FLAT_CS64;
    context.user_regs.ss = FLAT_DS;
    context.user_regs.rdi = id;
    context.user_regs.rsi = (uint64_t)function;
    context.ctrlreg[3] = mfn_of((void *)pv_start_info()->pt_base) << PAGE_SHIFT;
    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_initialise, id, (uint64_t)&context), 0);
    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_up, id, 0), 0);
}
