/* Nonsense in the indices of the console's and xenstore's rings, announced by their events. */
#include "guest.h"

#include <xen/hvm/params.h>
#include <xen/io/xs_wire.h>

#include "console_ring.h"
#include "events.h"
#include "memory.h"
#include "random.h"

static const uint32_t corners[] = {
    0, 1, 1023, 1024, 1025, 2047, 2048, 2049, 0x7fffffff, 0x80000000, 0x80000001, 0xfffffbff, 0xfffffc00, 0xffffffff,
};

static uint32_t index(void)
{
    return random() % 4 ? corners[random() % ARRAY_SIZE(corners)] : random();
}

void test_main(void)
{
    volatile struct xenstore_domain_interface *store = page_at(hvm_param(HVM_PARAM_STORE_PFN));
    evtchn_port_t store_port = hvm_param(HVM_PARAM_STORE_EVTCHN);
    volatile struct xencons_interface *console;

    random_seed(option("seed", 1));
    events_init();
    console_ring_init();
    console = console_ring;
    for (unsigned int round = 0; round < 2000; round++) {
        console->in_cons = index();
        console->in_prod = index();
        console->out_cons = index();
        console->out_prod = index();
        store->req_cons = index();
        store->req_prod = index();
        store->rsp_cons = index();
        store->rsp_prod = index();
        expect_equal(notify(console_port), 0);
        expect_equal(notify(store_port), 0);
    }
    /* the console works again once its indices do */
    console->out_cons = console->out_prod = 0;
    console->in_cons = console->in_prod = 0;
    clear_pending(console_port);
    console_ring_write("printed by the ring\n", 20);
}
