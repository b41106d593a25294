/* Bringing vCPUs up: by INIT and start-up IPI, by VCPUOP_initialise; and down again. */
#include "guest.h"

#include <xen/errno.h>
#include <xen/vcpu.h>
#include <xen/hvm/hvm_vcpu.h>

#include "apic.h"
#include "smp.h"

static volatile unsigned int started[MAX_VCPUS];
static volatile uint32_t apic_id[MAX_VCPUS];
static struct vcpu_hvm_context context;

static void entry(void)
{
    unsigned int id = this_vcpu()->id;

    started[id]++;
    apic_id[id] = apic_read(APIC_ID) >> 24;
    expect_equal(cpuid(1, 0).ebx >> 24, apic_id[id]);
    expect_equal(cpuid(0x40000004, 0).ebx, id);
}

static long vcpu_op(unsigned int command, unsigned int id, void *argument)
{
    return hypercall3(__HYPERVISOR_vcpu_op, command, id, (uint64_t)argument);
}

/* a 32-bit context that is sound, for tests to break */
static struct vcpu_hvm_x86_32 *flat32(void)
{
    struct vcpu_hvm_x86_32 *regs = &context.cpu_regs.x86_32;

    memset(&context, 0, sizeof(context));
    context.mode = VCPU_HVM_MODE_32B;
    regs->cr0 = 0x11;
    regs->eip = 0x800000;
    regs->cs_limit = regs->ds_limit = regs->es_limit = regs->ss_limit = ~0u;
    regs->cs_ar = 0xc9b;
    regs->ds_ar = regs->es_ar = regs->ss_ar = 0xc93;
    regs->tr_limit = 0x67;
    regs->tr_ar = 0x8b;
    return regs;
}

#define expect_refused(change) do { \
        struct vcpu_hvm_x86_32 *regs = flat32(); \
        change; \
        expect_equal(vcpu_op(VCPUOP_initialise, 3, &context), -XEN_EINVAL); \
        (void)regs; \
    } while (0)

static void test_contexts(void)
{
    expect_refused(context.mode = 7);
    expect_refused(regs->tr_ar = 0);
    expect_refused(regs->tr_ar = 0x0b); /* not present */
    expect_refused(regs->tr_ar = 0x83); /* of 16 bits */
    expect_refused(regs->ds_ar = 0xcf3); /* for users */
    expect_refused(regs->tr_ar = 0x9b); /* a code segment */
    expect_refused(regs->cs_ar = 0);
    expect_refused(regs->cs_ar = 0xc93);
    expect_refused(regs->cs_ar = 0xc1b);
    expect_refused(regs->ss_ar = 0);
    expect_refused(regs->ss_ar = 0xc91);
    expect_refused(regs->ss_ar = 0x82);
    expect_refused(regs->ds_ar = 0xc99);
    expect_refused(regs->ds_ar = 0xf000 | 0xc93);
    expect_refused(regs->cs_limit = 0xfff; regs->cs_ar = 0x49b);
    expect_refused(regs->cr0 = 0x80000010);
    expect_refused(regs->efer = 1 << 10);
    expect_equal(vcpu_op(VCPUOP_up, 3, NULL), -XEN_EINVAL);
    expect_equal(vcpu_op(VCPUOP_initialise, 99, &context), -XEN_ENOENT);
    expect_equal(vcpu_op(VCPUOP_initialise, 3, (void *)(1ul << 63)), -XEN_EFAULT);
    flat32();
    expect_equal(vcpu_op(VCPUOP_initialise, 3, &context), 0);
    expect_equal(vcpu_op(VCPUOP_initialise, 3, &context), -XEN_EEXIST);
}

void test_main(void)
{
    apic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);
    start_vcpu_sipi(1, entry);
    wait_until_ended(1);
    start_vcpu(2, entry);
    wait_until_ended(2);
    for (unsigned int id = 1; id <= 2; id++) {
        expect_equal(started[id], 1);
        expect_equal(apic_id[id], 2 * id);
    }
    /* INIT and start-up bring one up again that went down, however it was started */
    start_vcpu_sipi(1, entry);
    wait_until_ended(1);
    start_vcpu_sipi(2, entry);
    wait_until_ended(2);
    expect_equal(started[1], 2);
    expect_equal(started[2], 2);

    expect_equal(vcpu_op(VCPUOP_down, 0, NULL), -XEN_EBUSY);
    test_contexts();
}
