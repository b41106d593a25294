/* Bringing vCPUs up. */
#include "guest.h"

#include <xen/vcpu.h>
#include <xen/hvm/hvm_vcpu.h>

#include "apic.h"
#include "cpu.h"
#include "memory.h"
#include "traps.h"

struct vcpu vcpus[MAX_VCPUS];

extern uint64_t starting_stack, starting_entry;
extern uint8_t vcpus_stacks[MAX_VCPUS][STACK_BYTES];
extern const uint8_t trampoline[], trampoline_end[];
void start64(void);

static unsigned int starting_vcpu;

void smp_init(void)
{
    for (unsigned int id = 0; id < MAX_VCPUS; id++)
        vcpus[id].id = id;
    vcpus[0].running = true;
    traps_init_vcpu(&vcpus[0]);
}

static void vcpu_main(void)
{
    struct vcpu *vcpu = &vcpus[starting_vcpu];

    traps_init_vcpu(vcpu);
    vcpu->running = true;
    vcpu->entry();
    vcpu->ended = true;
    hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_down, vcpu->id, 0);
    printk("FAILURE: vCPU %u cannot go down\n", vcpu->id);
}

static void prepare(unsigned int id, void (*entry)(void))
{
    vcpus[id].entry = entry;
    vcpus[id].running = vcpus[id].ended = false;
    starting_vcpu = id;
    starting_stack = (uint64_t)vcpus_stacks[id + 1];
    starting_entry = (uint64_t)vcpu_main;
}

static void wait_until_running(unsigned int id)
{
    while (!vcpus[id].running)
        pause();
}

void start_vcpu(unsigned int id, void (*entry)(void))
{
    static struct vcpu_hvm_context context;
    struct vcpu_hvm_x86_64 *registers = &context.cpu_regs.x86_64;

    prepare(id, entry);
    memset(&context, 0, sizeof(context));
    context.mode = VCPU_HVM_MODE_64B;
    registers->rip = (uint64_t)start64;
    registers->rflags = 2;
    registers->cr0 = read_cr0();
    registers->cr3 = read_cr3();
    registers->cr4 = read_cr4();
    registers->efer = 0xd01; /* NXE, LMA, LME, SCE */
    /* a vCPU that has gone down needs no other start */
    hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_initialise, id, (uint64_t)&context);
    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_up, id, 0), 0);
    wait_until_running(id);
}

void start_vcpu_sipi(unsigned int id, void (*entry)(void))
{
    prepare(id, entry);
    memcpy((void *)TRAMPOLINE, trampoline, trampoline_end - trampoline);
    apic_write(APIC_ICR_HIGH, id * 2 << 24);
    apic_write(APIC_ICR, ICR_INIT | ICR_ASSERT);
    apic_write(APIC_ICR_HIGH, id * 2 << 24);
    apic_write(APIC_ICR, ICR_STARTUP | ICR_ASSERT | TRAMPOLINE >> 12);
    wait_until_running(id);
}

void wait_until_ended(unsigned int id)
{
    while (!vcpus[id].ended || hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_is_up, id, 0))
        hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, NULL);
}
