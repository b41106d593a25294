/*
 * A host on a network, by netchannel2: it has a peer echo packets of many sizes, then echoes what others send, until
 * its interface is detached. On the command line: address=, peer=, port= (0: ping), asks=, largest= (bytes), queues=,
 * order= (of a ring's pages), offload=0, map=1 (map fragments instead of copying them), packets=.
 */
#include "guest.h"

#include "channel.h"
#include "device.h"
#include "events.h"
#include "internet.h"

#define MAX_QUEUES 8

static struct channel channels[MAX_QUEUES];
static evtchn_port_t ports[MAX_QUEUES];
static unsigned int queues;

static void read_mac(void)
{
    char text[32];

    read_node("mac", text, sizeof(text));
    for (unsigned int i = 0; i < 12; i++) {
        char digit = text[i / 2 * 3 + i % 2];

        own_mac[i / 2] = own_mac[i / 2] << 4 | (digit <= '9' ? digit - '0' : digit - 'a' + 10);
    }
}

static void serve(uint64_t ns)
{
    sleep_for_events(ports, queues, ns);
    for (unsigned int i = 0; i < queues; i++)
        channel_receive(&channels[i], internet_receive);
}

static void connect(void)
{
    queues = option("queues", 1);
    await_backend(XenbusStateInitWait);
    if (queues > 1)
        write_node("multi-queue-num-queues", -1, -1, queues);
    for (unsigned int i = 0; i < queues; i++) {
        channel_open(&channels[i], queues > 1 ? (int)i : -1, option("order", 0));
        ports[i] = channels[i].port;
    }
    switch_state(XenbusStateConnected);
    await_backend(XenbusStateConnected);
    /* nothing may be sent before the backend has said how much */
    for (unsigned int i = 0; i < queues; i++)
        while (!channels[i].max_packets)
            serve(100 * MILLISECONDS);
}

/* whether the peer echoed all that it was sent */
static bool ask(uint32_t peer, unsigned int asks)
{
    uint32_t largest = option("largest", 1400);

    for (unsigned int tries = 0; tries < 100 && !peer_is_known; tries++) {
        internet_resolve(&channels[0], peer);
        serve(100 * MILLISECONDS);
    }
    for (unsigned int i = 0; i < asks; i++) {
        uint64_t before = internet.echoes, deadline = system_time() + 5 * SECONDS;
        uint32_t size = 2 + (uint64_t)i * (largest - 2) / (asks > 1 ? asks - 1 : 1);

        if (!internet_ask(&channels[i % queues], peer, option("port", 0), i, size))
            fail(__FILE__, __LINE__, "no room for packet %u", i);
        while (internet.echoes == before && system_time() < deadline)
            serve(100 * MILLISECONDS);
        if (internet.echoes == before)
            fail(__FILE__, __LINE__, "packet %u of %u bytes was not echoed", i, size);
    }
    return internet.echoes == asks;
}

void test_main(void)
{
    uint32_t peer = option("peer", 0);

    events_init();
    device_init();
    own_address = option("address", 0x0a090009);
    read_mac();
    connect();
    printk("netchannel2 is connected\n");
    if (peer) {
        bool all = ask(peer, option("asks", 20));

        printk("echoed to us: %lu packets, which is %s\n", internet.echoes, all ? "all" : "not all");
    }
    do
        serve(200 * MILLISECONDS);
    while (backend_state() == XenbusStateConnected);
    switch_state(XenbusStateClosed);
    printk("sent %lu received %lu small %lu fragments %lu finished %lu dropped %lu\n", totals.sent, totals.received,
           totals.small, totals.fragments, totals.finished, totals.dropped);
    printk("echoed by us: %lu, bad checksums: %lu\n", internet.requests, internet.bad_checksums);
    expect_equal(internet.bad_checksums, 0);
    expect_equal(totals.dropped, 0);
}
