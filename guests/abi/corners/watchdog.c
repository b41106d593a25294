/* The watchdogs: two, to be fed or released; one that is not shuts the domain down. */
#include "guest.h"

#include <xen/errno.h>

#include "cpu.h"
#include "events.h"

static long watchdog(uint32_t id, uint32_t timeout)
{
    struct sched_watchdog argument = { .id = id, .timeout = timeout };

    return hypercall(__HYPERVISOR_sched_op, SCHEDOP_watchdog, &argument);
}

void test_main(void)
{
    uint64_t end;

    events_init();
    expect_equal(watchdog(0, 0), -XEN_EINVAL);
    expect_equal(watchdog(1, 10), -XEN_EINVAL);
    expect_equal(watchdog(3, 10), -XEN_EINVAL);
    expect_equal(watchdog(0, ~0u), 1);
    expect_equal(watchdog(0, 1), 2);
    expect_equal(watchdog(0, 1), -XEN_ENOSPC);
    expect_equal(watchdog(2, 0), 0);
    expect_equal(watchdog(2, 1), -XEN_EINVAL);
    expect_equal(watchdog(1, 1), 0);

    end = system_time() + 1200 * MILLISECONDS;
    while (system_time() < end)
        expect_equal(watchdog(1, 1), 0);
    expect_equal(watchdog(1, 0), 0);
    expect_equal(watchdog(0, 1), 1);
    printk("the watchdog is hungry now\n");
    for (;;)
        wait_for_interrupt();
}
