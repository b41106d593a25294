/* The ring to xenstore. */
#include "guest.h"

#include <xen/hvm/params.h>

#include "cpu.h"
#include "events.h"
#include "memory.h"
#include "xenstore_ring.h"

struct xenstore_domain_interface *store;
evtchn_port_t store_port;

void store_init(void)
{
    store = page_at(hvm_param(HVM_PARAM_STORE_PFN));
    store_port = hvm_param(HVM_PARAM_STORE_EVTCHN);
}

void store_write(const void *data, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        store->req[(store->req_prod + i) % sizeof(store->req)] = ((const char *)data)[i];
    barrier();
    store->req_prod += length;
    notify(store_port);
}

void store_read(void *data, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        while (*(volatile uint32_t *)&store->rsp_prod == store->rsp_cons)
            wait_for_event(store_port);
        ((char *)data)[i] = store->rsp[store->rsp_cons++ % sizeof(store->rsp)];
    }
    notify(store_port);
}

void store_ask(uint32_t type, uint32_t id, const void *payload, uint32_t length)
{
    struct xsd_sockmsg message = { .type = type, .req_id = id, .len = length };

    store_write(&message, sizeof(message));
    store_write(payload, length);
}

uint32_t store_answer(uint32_t id, char *payload, uint32_t size)
{
    struct xsd_sockmsg message;

    store_read(&message, sizeof(message));
    expect_equal(message.req_id, id);
    expect(message.len < size);
    memset(payload, 0, size);
    if (message.len < size)
        store_read(payload, message.len);
    return message.type;
}
