/* The clock never goes back, on one vCPU or between two. */
#include "guest.h"

#include <xen/vcpu.h>
#include <xen/hvm/hvm_op.h>

#include "cpu.h"
#include "events.h"
#include "smp.h"

#define ROUNDS 50000

static volatile uint64_t latest;
static volatile bool over;
static struct vcpu_time_info secondary;

static void look(void)
{
    uint64_t before = latest, now = system_time();

    if (now < before)
        fail(__FILE__, __LINE__, "vCPU %u reads %lu after %lu", this_vcpu()->id, now, before);
    latest = now;
}

static void second(void)
{
    while (!over)
        look();
}

static uint64_t time_by_hypercall(void)
{
    struct xen_hvm_get_time argument;

    expect_equal(hypercall(__HYPERVISOR_hvm_op, HVMOP_get_time, &argument), 0);
    return argument.now;
}

static void test_sources_agree(void)
{
    uint64_t before = system_time(), middle = time_by_hypercall(), after = system_time();
    struct vcpu_register_time_memory_area area = { .addr.p = (uint64_t)&secondary };

    expect(before <= middle && middle <= after);
    expect_equal(hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_time_memory_area, 0, (uint64_t)&area), 0);
    expect_equal(memcmp(&secondary, &this_vcpu()->info->time, sizeof(secondary)), 0);
}

void test_main(void)
{
    events_init();
    test_sources_agree();
    expect(this_vcpu()->info->time.flags & XEN_PVCLOCK_TSC_STABLE_BIT);
    start_vcpu(1, second);
    for (unsigned int round = 0; round < ROUNDS; round++)
        look();
    over = true;
    wait_until_ended(1);
}
