/* The timers of a vCPU: one-shot by both hypercalls, periodic. */
#include "guest.h"

#include <xen/errno.h>
#include <xen/vcpu.h>

#include "cpu.h"
#include "events.h"

/* how late a timer may be on a busy host */
#define TOLERANCE (500 * MILLISECONDS)

static volatile unsigned int ticks;
static volatile uint64_t last_tick;

static void tick(evtchn_port_t port)
{
    (void)port;
    ticks++;
    last_tick = system_time();
}

static void expect_tick_at(uint64_t deadline)
{
    unsigned int before = ticks;

    while (ticks == before)
        wait_for_interrupt();
    expect(last_tick >= deadline);
    if (last_tick > deadline + TOLERANCE)
        fail(__FILE__, __LINE__, "a timer was %lu ns late", last_tick - deadline);
}

static long vcpu_op(unsigned int command, void *argument)
{
    return hypercall3(__HYPERVISOR_vcpu_op, command, 0, (uint64_t)argument);
}

static long set_singleshot(uint64_t deadline)
{
    struct vcpu_set_singleshot_timer argument = { .timeout_abs_ns = deadline };

    return vcpu_op(VCPUOP_set_singleshot_timer, &argument);
}

static long set_timer_op(uint64_t deadline)
{
    return hypercall3(__HYPERVISOR_set_timer_op, deadline, 0, 0);
}

static void expect_no_tick(uint64_t duration)
{
    unsigned int before = ticks;
    uint64_t end = system_time() + duration;

    interrupts_on();
    while (system_time() < end)
        pause();
    interrupts_off();
    expect_equal(ticks, before);
}

static void test_single_shot(void)
{
    uint64_t deadline = system_time() + 20 * MILLISECONDS;

    expect_equal(set_singleshot(deadline), 0);
    expect_tick_at(deadline);
    deadline = system_time() + 20 * MILLISECONDS;
    expect_equal(set_timer_op(deadline), 0);
    expect_tick_at(deadline);
    /* one that has passed fires at once */
    deadline = system_time() - 1;
    expect_equal(set_singleshot(deadline), 0);
    expect_tick_at(deadline);
    /* one that is stopped never fires; nor, for now, does one in the far future */
    expect_equal(set_singleshot(system_time() + 5 * MILLISECONDS), 0);
    expect_equal(vcpu_op(VCPUOP_stop_singleshot_timer, NULL), 0);
    expect_equal(set_timer_op(system_time() + 5 * MILLISECONDS), 0);
    expect_equal(set_timer_op(0), 0);
    expect_equal(set_timer_op(system_time() + 10000 * SECONDS), 0);
    expect_no_tick(10 * MILLISECONDS);
}

static void test_periodic(void)
{
    struct vcpu_set_periodic_timer argument = { .period_ns = 100 };
    uint64_t start;

    expect_equal(vcpu_op(VCPUOP_set_periodic_timer, &argument), -XEN_EINVAL);
    argument.period_ns = 2 * MILLISECONDS;
    start = system_time();
    ticks = 0;
    expect_equal(vcpu_op(VCPUOP_set_periodic_timer, &argument), 0);
    while (ticks < 10)
        wait_for_interrupt();
    expect(last_tick - start >= 20 * MILLISECONDS);
    expect(last_tick - start < 20 * MILLISECONDS + TOLERANCE);
    expect_equal(vcpu_op(VCPUOP_stop_periodic_timer, NULL), 0);
    let_interrupts_in();
    expect_no_tick(10 * MILLISECONDS);
}

void test_main(void)
{
    events_init();
    set_event_handler(bind_virq(VIRQ_TIMER, 0), tick);
    test_single_shot();
    test_periodic();
}
