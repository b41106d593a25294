/* NMIs: by VCPUOP_send_nmi and by the APIC, to a vCPU that is blocked with interrupts off, not within each other. */
#include "guest.h"

#include <xen/errno.h>
#include <xen/sched.h>
#include <xen/vcpu.h>

#include "apic.h"
#include "smp.h"
#include "traps.h"

static volatile unsigned int count[2], depth, deepest;

static void send_nmi(unsigned int vcpu)
{
    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_send_nmi, vcpu, 0), 0);
}

static void spin(void)
{
    for (unsigned int i = 0; i < 1000; i++)
        barrier();
}

static void nmi(struct frame *frame)
{
    (void)frame;
    if (++depth > deepest)
        deepest = depth;
    if (count[this_vcpu()->id]++ == 0 && this_vcpu()->id == 0) {
        send_nmi(0); /* waits for the IRET of this one */
        spin();
    }
    depth--;
}

static void sleeper(void)
{
    interrupts_off();
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_block, NULL);
}

static bool is_blocked(unsigned int vcpu)
{
    struct vcpu_runstate_info info;

    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, vcpu, (uint64_t)&info), 0);
    return info.state == RUNSTATE_blocked;
}

static void test_sleeping_vcpu(void)
{
    start_vcpu(1, sleeper);
    while (!is_blocked(1))
        pause();
    send_nmi(1);
    wait_until_ended(1);
    expect_equal(count[1], 1);
}

void test_main(void)
{
    set_handler(NMI, nmi);
    interrupts_off();
    send_nmi(0);
    spin();
    expect_equal(count[0], 2);
    expect_equal(deepest, 1);

    apic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);
    apic_write(APIC_ICR, ICR_SELF | ICR_NMI);
    spin();
    expect_equal(count[0], 3);
    test_sleeping_vcpu();
    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_send_nmi, 99, 0), -XEN_ENOENT);
}
