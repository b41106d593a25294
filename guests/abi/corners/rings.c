/* The console's and xenstore's rings: where the parameters say, announced by their event channels. */
#include "guest.h"

#include <xen/errno.h>
#include <xen/hvm/params.h>
#include <xen/io/xs_wire.h>

#include "console_ring.h"
#include "cpu.h"
#include "events.h"
#include "memory.h"

static struct xenstore_domain_interface *store;
static evtchn_port_t store_port;

static void store_write(const void *data, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        store->req[(store->req_prod + i) % sizeof(store->req)] = ((const char *)data)[i];
    barrier();
    store->req_prod += length;
    notify(store_port);
}

static void store_read(void *data, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        while (*(volatile uint32_t *)&store->rsp_prod == store->rsp_cons)
            wait_for_event(store_port);
        ((char *)data)[i] = store->rsp[store->rsp_cons++ % sizeof(store->rsp)];
    }
    notify(store_port);
}

static void test_xenstore(void)
{
    static const char path[] = "name";
    struct xsd_sockmsg message = { .type = XS_READ, .req_id = 42, .len = sizeof(path) };
    char answer[64] = "";

    store = page_at(hvm_param(HVM_PARAM_STORE_PFN));
    store_port = hvm_param(HVM_PARAM_STORE_EVTCHN);
    store_write(&message, sizeof(message));
    store_write(path, sizeof(path));
    store_read(&message, sizeof(message));
    expect_equal(message.type, XS_READ);
    expect_equal(message.req_id, 42);
    expect(message.len < sizeof(answer));
    if (message.len < sizeof(answer))
        store_read(answer, message.len);
    printk("xenstore says %s\n", answer);
}

void test_main(void)
{
    static char text[5000], line[200];

    events_init();
    console_ring_init();
    expect_equal(set_hvm_param(HVM_PARAM_CONSOLE_PFN, 1), -XEN_EPERM);

    memset(text, 'x', sizeof(text) - 2);
    text[sizeof(text) - 2] = '\n';
    console_ring_write(text, strlen(text)); /* more than the ring holds */
    console_ring_write("ready\n", 6);
    console_ring_read_line(line, sizeof(line));
    printk("read: %s", line);
    test_xenstore();
}
