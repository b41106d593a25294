/* Requests to xenstore without end: of every type, sensible, senseless and cut short, and resets between them. */
#include "guest.h"

#include "cpu.h"
#include "events.h"
#include "random.h"
#include "xenstore_ring.h"

static const char *const payloads[] = {
    "", "name", "data/a", "data/a\0value", "data", "/local/domain/0", "data\0token", "@releaseDomain\0t", "T", "F",
    "0", "1\0001\0001", "/\0n0\0r1", "../../..", "//", "\xff\xfe",
};

/* what fits, without waiting for more room */
static void write(const void *data, uint32_t length)
{
    volatile struct xenstore_domain_interface *ring = store;

    for (uint32_t i = 0; i < length && ring->req_prod - ring->req_cons < sizeof(ring->req); i++) {
        ring->req[ring->req_prod % sizeof(ring->req)] = ((const char *)data)[i];
        barrier();
        ring->req_prod = ring->req_prod + 1;
    }
    notify(store_port);
}

static void reset(void)
{
    volatile struct xenstore_domain_interface *ring = store;

    ring->connection = XENSTORE_RECONNECT;
    notify(store_port);
    while (ring->connection == XENSTORE_RECONNECT)
        wait_for_event(store_port);
}

void test_main(void)
{
    volatile struct xenstore_domain_interface *ring;

    random_seed(option("seed", 1));
    events_init();
    store_init();
    ring = store;
    printk("storming\n");
    for (;;) {
        const char *payload = payloads[random() % ARRAY_SIZE(payloads)];
        struct xsd_sockmsg message = {
            .type = random() % 30, .req_id = random(), .tx_id = random() % 4 ? 0 : random() % 100,
            .len = random() % 200 ? strlen(payload) + 1 + random() % 8 : random(),
        };

        write(&message, sizeof(message));
        if (message.len < 4096)
            write(payload, message.len);
        if (random() % 8)
            ring->rsp_cons = ring->rsp_prod; /* sometimes it takes no answers */
        if (ring->error || random() % 1000 == 0)
            reset();
    }
}
