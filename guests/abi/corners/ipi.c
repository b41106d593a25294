/* Event channels between two vCPUs, upcalls by the callback vector: IPIs forth and back. */
#include "guest.h"

#include <xen/errno.h>

#include "cpu.h"
#include "events.h"
#include "smp.h"

#define ROUNDS 200

static evtchn_port_t to_first, to_second;
static volatile unsigned int arrived[2];
static volatile bool over;

static void arrive(unsigned int vcpu)
{
    arrived[vcpu]++;
    if (this_vcpu()->id != vcpu)
        fail(__FILE__, __LINE__, "an IPI for vCPU %u came to vCPU %u", vcpu, this_vcpu()->id);
}

static void ping(evtchn_port_t port)
{
    (void)port;
    arrive(1);
    notify(to_first);
}

static void pong(evtchn_port_t port)
{
    (void)port;
    arrive(0);
}

static void second(void)
{
    while (!over)
        wait_for_interrupt();
}

static void test_masking(void)
{
    evtchn_port_t port = bind_ipi(0);
    struct evtchn_close argument = { .port = port };

    mask(port);
    expect_equal(notify(port), 0);
    expect(is_pending(port));
    expect_equal(this_vcpu()->info->evtchn_upcall_pending, 0);
    expect_equal(unmask(port), 0);
    expect_equal(this_vcpu()->info->evtchn_upcall_pending, 1);
    handle_events();

    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_close, &argument), 0);
    expect_equal(notify(port), -XEN_EINVAL);
}

void test_main(void)
{
    events_init();
    test_masking();
    to_first = bind_ipi(0);
    to_second = bind_ipi(1);
    set_event_handler(to_first, pong);
    set_event_handler(to_second, ping);
    start_vcpu(1, second);
    for (unsigned int round = 1; round <= ROUNDS; round++) {
        notify(to_second);
        while (arrived[0] < round)
            wait_for_interrupt();
    }
    expect_equal(arrived[0], ROUNDS);
    expect_equal(arrived[1], ROUNDS);
    over = true;
    notify(to_second);
    wait_until_ended(1);
}
