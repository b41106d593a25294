/* The runstate area: kept up to date for its owner, its times adding up. */
#include "guest.h"

#include <xen/errno.h>
#include <xen/vcpu.h>

#include "cpu.h"
#include "events.h"
#include "smp.h"

static volatile struct vcpu_runstate_info area __attribute__((aligned(64)));
static page_t pages[2];
static volatile bool over;

static long runstate_op(unsigned int command, unsigned int vcpu, void *argument)
{
    return hypercall3(__HYPERVISOR_vcpu_op, command, vcpu, (uint64_t)argument);
}

static long register_area(uint64_t address)
{
    struct vcpu_register_runstate_memory_area where = { .addr.p = address };

    return runstate_op(VCPUOP_register_runstate_memory_area, 0, &where);
}

static int state_of(unsigned int vcpu)
{
    struct vcpu_runstate_info info;

    expect_equal(runstate_op(VCPUOP_get_runstate_info, vcpu, &info), 0);
    return info.state;
}

static void sleep_for(uint64_t duration)
{
    struct sched_poll argument = { .nr_ports = 0, .timeout = system_time() + duration };

    hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &argument);
}

static void second(void)
{
    while (!over)
        sleep_for(MILLISECONDS);
}

void test_main(void)
{
    struct vcpu_runstate_info info;
    unsigned int tries = 100;
    volatile struct vcpu_runstate_info *across = (void *)&pages[0].bytes[4096 - 16];

    events_init();
    expect_equal(register_area((uint64_t)&area), 0);
    expect_equal(area.state, RUNSTATE_running);
    sleep_for(20 * MILLISECONDS);
    expect_equal(area.state, RUNSTATE_running);
    expect(area.time[RUNSTATE_blocked] >= 19 * MILLISECONDS);
    expect(area.state_entry_time <= system_time());
    expect_equal(state_of(0), RUNSTATE_running);
    expect_equal(state_of(1), RUNSTATE_offline);

    start_vcpu(1, second);
    expect(state_of(1) == RUNSTATE_runnable || state_of(1) == RUNSTATE_blocked);
    over = true;
    wait_until_ended(1);
    expect_equal(state_of(1), RUNSTATE_offline);

    /* an area may lie across two pages */
    expect_equal(register_area((uint64_t)across), 0);
    sleep_for(MILLISECONDS);
    do /* both are of the same moment unless the vCPU was interrupted in between */
        expect_equal(runstate_op(VCPUOP_get_runstate_info, 0, &info), 0);
    while (info.state_entry_time != across->state_entry_time && --tries);
    expect_equal(across->state, RUNSTATE_running);
    expect(info.time[RUNSTATE_running] >= across->time[RUNSTATE_running]);
    expect_equal(info.time[RUNSTATE_blocked], across->time[RUNSTATE_blocked]);
    expect_equal(info.time[RUNSTATE_offline], across->time[RUNSTATE_offline]);

    expect_equal(register_area(1ul << 63), -XEN_EFAULT);
    expect_equal(runstate_op(VCPUOP_get_runstate_info, 99, &info), -XEN_ENOENT);
}
