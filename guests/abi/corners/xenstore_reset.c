/* The connection to xenstore is reset, in good order and when it is broken, and knows nothing of before. */
#include "guest.h"

#include "events.h"
#include "xenstore_ring.h"

static const char watched[] = "data\0token";
static const char name[] = "name";
static char answer[64];

static void reset(void)
{
    volatile struct xenstore_domain_interface *ring = store;

    ring->connection = XENSTORE_RECONNECT;
    notify(store_port);
    while (ring->connection == XENSTORE_RECONNECT)
        wait_for_event(store_port);
    expect_equal(ring->connection, XENSTORE_CONNECTED);
    expect_equal(ring->error, XENSTORE_ERROR_NONE);
    expect_equal(ring->req_prod, ring->req_cons);
    expect_equal(ring->rsp_prod, ring->rsp_cons);
}

static void test_works(void)
{
    store_ask(XS_READ, 7, name, sizeof(name));
    expect_equal(store_answer(7, answer, sizeof(answer)), XS_READ);
    expect(!memcmp(answer, "the seventh", 11));
}

static void watch(void)
{
    store_ask(XS_WATCH, 1, watched, sizeof(watched));
    expect_equal(store_answer(1, answer, sizeof(answer)), XS_WATCH);
    expect_equal(store_answer(0, answer, sizeof(answer)), XS_WATCH_EVENT);
}

void test_main(void)
{
    volatile struct xenstore_domain_interface *ring;

    events_init();
    store_init();
    ring = store;
    expect(ring->server_features & XENSTORE_SERVER_FEATURE_RECONNECTION);
    expect(ring->server_features & XENSTORE_SERVER_FEATURE_ERROR);
    expect_equal(ring->connection, XENSTORE_CONNECTED);
    expect_equal(ring->error, XENSTORE_ERROR_NONE);
    test_works();

    watch();
    store_ask(XS_READ, 2, name, sizeof(name)); /* its answer is dropped */
    store_write("half a message", 14);
    reset();
    test_works();
    watch(); /* the old one is gone: this is no EEXIST */

    ring->req_prod = ring->req_cons + 1025;
    notify(store_port);
    wait_for_event(store_port);
    expect_equal(ring->error, XENSTORE_ERROR_RINGIDX);
    reset();
    test_works();

    store_ask(XS_READ, 3, name, sizeof(name));
    expect_equal(store_answer(3, answer, sizeof(answer)), XS_READ);
    store_write("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16);
    while (ring->error != XENSTORE_ERROR_PROTO)
        wait_for_event(store_port);
    reset();
    test_works();
}
