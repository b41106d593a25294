/* SCHEDOP_poll: until an event is pending, masked or not, or until a time. */
#include "guest.h"

#include <xen/errno.h>

#include "cpu.h"
#include "events.h"
#include "smp.h"

static evtchn_port_t port;

static long poll(evtchn_port_t *ports, unsigned int count, uint64_t timeout)
{
    struct sched_poll argument = { .nr_ports = count, .timeout = timeout };

    set_xen_guest_handle(argument.ports, ports);
    return hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &argument);
}

static void second(void)
{
    uint64_t end = system_time() + 10 * MILLISECONDS;

    while (system_time() < end)
        pause();
    notify(port);
}

void test_main(void)
{
    evtchn_port_t unbound = 1000;
    uint64_t timeout;

    events_init();
    port = bind_ipi(0);
    mask(port);

    timeout = system_time() + 20 * MILLISECONDS;
    expect_equal(poll(&port, 1, timeout), 0);
    expect(system_time() >= timeout);
    expect(!is_pending(port));
    expect_equal(poll(NULL, 0, system_time() + 5 * MILLISECONDS), 0);
    expect_equal(poll(&port, 1, 1), 0); /* has passed */

    start_vcpu(1, second); /* wakes this one */
    timeout = system_time() + 20 * SECONDS;
    expect_equal(poll(&port, 1, timeout), 0);
    expect(is_pending(port));
    expect(system_time() < timeout);
    wait_until_ended(1);

    expect_equal(poll(&port, 1, 0), 0); /* is pending: returns at once */
    clear_pending(port);
    expect_equal(poll(&unbound, 1, 0), -XEN_EINVAL);
    expect_equal(poll(&port, 1000, 0), -XEN_EINVAL);
    expect_equal(poll((void *)(1ul << 63), 1, 0), -XEN_EFAULT);
}
