/* Messages and packets. Pages for sending are granted once, and used again when their packets are finished. */
#include "guest.h"

#include "channel.h"
#include "cpu.h"
#include "device.h"
#include "events.h"
#include "memory.h"

#define SEND_PAGES 96
#define MAX_FRAGMENTS 17
#define PREFIX_BYTES 96
#define NO_PACKET 0xffffffffu
#define WINDOW HOLE /* where fragments are mapped, if they are */

struct send_page {
    page_t *page;
    grant_ref_t ref;
    uint32_t packet; /* which uses it, or NO_PACKET */
};

struct channel_totals totals;

static struct send_page send_pages[SEND_PAGES];
static uint32_t next_packet = 1;
static page_t received[MAX_FRAGMENTS + 1];

static void send_message(struct channel *channel, const void *message, uint32_t size);

static void *allocate_pages(unsigned int count)
{
    void *first = allocate_page();

    /* the pool's pages follow each other */
    for (unsigned int i = 1; i < count; i++)
        expect(allocate_page() == (uint8_t *)first + i * PAGE_SIZE);
    return first;
}

static void ring_init(struct ring *ring, volatile struct netchannel2_sring *shared, unsigned int order)
{
    ring->shared = shared;
    ring->bytes = allocate_pages(1u << order);
    ring->size = PAGE_SIZE << order;
    shared->prod_event = shared->cons_event = 1;
}

static void offer_ring(struct ring *ring, int queue, const char *order, const char *gref, uint16_t flags)
{
    write_node(order, queue, -1, __builtin_ctz(ring->size / PAGE_SIZE));
    for (uint32_t i = 0; i < ring->size / PAGE_SIZE; i++)
        write_node(gref, queue, i, grant_page(ring->bytes + i * PAGE_SIZE, flags));
}

void channel_open(struct channel *channel, int queue, unsigned int order)
{
    struct netchannel2_shared *control = allocate_page();
    struct netchannel2_msg_set_max_packets packets = {
        .hdr = { .type = NETCHANNEL2_MSG_SET_MAX_PACKETS }, .max_outstanding_packets = option("packets", 64),
    };
    struct netchannel2_msg_set_max_fragments_per_packet fragments = {
        .hdr = { .type = NETCHANNEL2_MSG_SET_MAX_FRAGMENTS_PER_PACKET }, .max_frags_per_packet = MAX_FRAGMENTS,
    };
    struct netchannel2_msg_set_offload offload = {
        .hdr = { .type = NETCHANNEL2_MSG_SET_OFFLOAD }, .csum = option("offload", 1),
    };

    if (!send_pages[0].page)
        for (unsigned int i = 0; i < SEND_PAGES; i++) {
            send_pages[i].page = allocate_page();
            send_pages[i].ref = grant_page(send_pages[i].page, GTF_readonly);
            send_pages[i].packet = NO_PACKET;
        }
    ring_init(&channel->out, &control->frontends, order);
    ring_init(&channel->in, &control->backends, order);
    channel->max_fragments = 1;
    channel->port = open_port();
    write_node("control-gref", queue, -1, grant_page(control, 0));
    offer_ring(&channel->out, queue, "prod-order", "prod-gref-", GTF_readonly);
    offer_ring(&channel->in, queue, "cons-order", "cons-gref-", 0);
    write_node("event-channel", queue, -1, channel->port);
    send_message(channel, &packets, sizeof(packets));
    send_message(channel, &fragments, sizeof(fragments));
    send_message(channel, &offload, sizeof(offload));
}

static bool has_room(struct ring *ring, uint32_t size)
{
    uint32_t left = ring->size - ring->index % ring->size;

    if (size > left)
        size += left;
    return ring->index + size - ring->shared->cons <= ring->size;
}

static void put(struct ring *ring, const void *message, uint32_t size, uint32_t shown_size)
{
    struct netchannel2_msg_hdr *header = (void *)(ring->bytes + ring->index % ring->size);

    memcpy(header, message, size);
    header->size = shown_size;
    ring->index += shown_size;
}

/* the message's size is rounded up; there must be room */
static void send_message(struct channel *channel, const void *message, uint32_t size)
{
    static const struct netchannel2_msg_hdr pad = { .type = NETCHANNEL2_MSG_PAD };
    struct ring *ring = &channel->out;
    uint32_t rounded = (size + 7) & ~7u, left = ring->size - ring->index % ring->size;
    uint32_t old = ring->shared->prod;

    if (rounded > left)
        put(ring, &pad, sizeof(pad), left);
    put(ring, message, size, rounded);
    barrier();
    ring->shared->prod = ring->index;
    barrier();
    if (ring->index - ring->shared->prod_event < ring->index - old)
        notify(channel->port);
}

static unsigned int free_pages(void)
{
    unsigned int count = 0;

    for (unsigned int i = 0; i < SEND_PAGES; i++)
        count += send_pages[i].packet == NO_PACKET;
    return count;
}

static struct send_page *take_page(uint32_t packet)
{
    struct send_page *page = send_pages;

    while (page->packet != NO_PACKET)
        page++;
    page->packet = packet;
    return page;
}

bool channel_send(struct channel *channel, const struct frame *frame)
{
    static uint8_t buffer[sizeof(struct netchannel2_msg_packet) + MAX_FRAGMENTS * sizeof(struct netchannel2_fragment) +
                          NETCHANNEL2_MAX_INLINE_BYTES];
    struct netchannel2_msg_packet *message = (void *)buffer;
    struct netchannel2_fragment *fragments = (void *)(message + 1);
    bool small = frame->size <= NETCHANNEL2_MAX_INLINE_BYTES;
    uint32_t prefix = small ? frame->size : PREFIX_BYTES, count = (frame->size - prefix + PAGE_SIZE - 1) / PAGE_SIZE;
    uint32_t size = sizeof(*message) + count * sizeof(*fragments) + prefix;

    if (!channel->max_packets || count > channel->max_fragments || count > free_pages() ||
        (count && channel->outstanding == channel->max_packets) || !has_room(&channel->out, (size + 7) & ~7u))
        return false;
    memset(message, 0, sizeof(*message));
    message->hdr.type = NETCHANNEL2_MSG_PACKET;
    message->id = next_packet++;
    message->type = small ? NC2_PACKET_TYPE_small : NC2_PACKET_TYPE_receiver_map;
    message->prefix_size = prefix;
    if (frame->csum_blank) {
        message->flags = NC2_PACKET_FLAG_csum_blank;
        message->csum_start = frame->csum_start;
        message->csum_offset = frame->csum_offset;
    }
    for (uint32_t i = 0, at = prefix; i < count; i++, at += fragments[i - 1].size) {
        struct send_page *page = take_page(message->id);
        uint32_t left = frame->size - at;

        /* at the page's end, to see that offsets are heeded */
        fragments[i].size = left < PAGE_SIZE ? left : PAGE_SIZE;
        fragments[i].off = PAGE_SIZE - fragments[i].size;
        fragments[i].gref = page->ref;
        memcpy(page->page->bytes + fragments[i].off, frame->data + at, fragments[i].size);
    }
    memcpy(fragments + count, frame->data, prefix);
    send_message(channel, message, size);
    channel->outstanding += count > 0;
    totals.sent++;
    return true;
}

/* in pieces, for a copy crosses no page's end */
static void copy_fragment(const struct netchannel2_fragment *fragment, uint32_t at)
{
    for (uint32_t done = 0; done < fragment->size;) {
        uint32_t offset = (at + done) % PAGE_SIZE, left = fragment->size - done, room = PAGE_SIZE - offset;
        struct gnttab_copy operation = {
            .source = { .u.ref = fragment->gref, .domid = 0, .offset = fragment->off + done },
            .dest = { .u.gmfn = gfn_of(received) + (at + done) / PAGE_SIZE, .domid = DOMID_SELF, .offset = offset },
            .len = left < room ? left : room,
            .flags = GNTCOPY_source_gref,
        };

        hypercall3(__HYPERVISOR_grant_table_op, GNTTABOP_copy, (uint64_t)&operation, 1);
        expect_equal(operation.status, GNTST_okay);
        done += operation.len;
    }
}

static void map_fragment(const struct netchannel2_fragment *fragment, uint32_t at)
{
    struct gnttab_map_grant_ref map = {
        .host_addr = WINDOW, .flags = GNTMAP_host_map | GNTMAP_readonly, .ref = fragment->gref, .dom = 0,
    };
    struct gnttab_unmap_grant_ref unmap = { .host_addr = WINDOW };

    hypercall3(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, (uint64_t)&map, 1);
    expect_equal(map.status, GNTST_okay);
    memcpy(received->bytes + at, (uint8_t *)WINDOW + fragment->off, fragment->size);
    unmap.handle = map.handle;
    hypercall3(__HYPERVISOR_grant_table_op, GNTTABOP_unmap_grant_ref, (uint64_t)&unmap, 1);
    expect_equal(unmap.status, GNTST_okay);
}

static void receive_packet(struct channel *channel, const struct netchannel2_msg_packet *message, uint32_t size,
                           void (*handler)(struct channel *channel, struct frame *frame))
{
    const struct netchannel2_fragment *fragments = (const void *)(message + 1);
    uint32_t count = (size - sizeof(*message) - message->prefix_size) / sizeof(*fragments);
    struct frame frame = {
        .data = received->bytes, .size = message->prefix_size,
        .csum_blank = message->flags & NC2_PACKET_FLAG_csum_blank,
        .csum_start = message->csum_start, .csum_offset = message->csum_offset,
    };
    struct netchannel2_msg_finish_packet finish = {
        .hdr = { .type = NETCHANNEL2_MSG_FINISH_PACKET }, .id = message->id,
    };

    memcpy(frame.data, fragments + count, message->prefix_size);
    for (uint32_t i = 0; i < count; i++) {
        if (option("map", 0))
            map_fragment(&fragments[i], frame.size);
        else
            copy_fragment(&fragments[i], frame.size);
        frame.size += fragments[i].size;
    }
    totals.received++;
    totals.fragments += count;
    if (message->type == NC2_PACKET_TYPE_small) {
        expect_equal(count, 0);
        totals.small++;
    } else {
        send_message(channel, &finish, sizeof(finish));
    }
    handler(channel, &frame);
}

static void packet_finished(struct channel *channel, uint32_t packet)
{
    unsigned int count = 0;

    for (unsigned int i = 0; i < SEND_PAGES; i++)
        if (send_pages[i].packet == packet) {
            send_pages[i].packet = NO_PACKET;
            count++;
        }
    expect(count);
    channel->outstanding--;
    totals.finished++;
}

static void handle(struct channel *channel, const void *message, uint32_t size,
                   void (*handler)(struct channel *channel, struct frame *frame))
{
    const struct netchannel2_msg_hdr *header = message;

    switch (header->type) {
    case NETCHANNEL2_MSG_PACKET:
        receive_packet(channel, message, size, handler);
        break;
    case NETCHANNEL2_MSG_FINISH_PACKET:
        packet_finished(channel, ((const struct netchannel2_msg_finish_packet *)message)->id);
        break;
    case NETCHANNEL2_MSG_SET_MAX_PACKETS:
        channel->max_packets = ((const struct netchannel2_msg_set_max_packets *)message)->max_outstanding_packets;
        break;
    case NETCHANNEL2_MSG_SET_MAX_FRAGMENTS_PER_PACKET:
        channel->max_fragments =
            ((const struct netchannel2_msg_set_max_fragments_per_packet *)message)->max_frags_per_packet;
        if (channel->max_fragments > MAX_FRAGMENTS)
            channel->max_fragments = MAX_FRAGMENTS;
        break;
    case NETCHANNEL2_MSG_SET_OFFLOAD:
        channel->may_leave_csum = ((const struct netchannel2_msg_set_offload *)message)->csum;
        break;
    case NETCHANNEL2_MSG_PAD:
        break;
    default:
        fail(__FILE__, __LINE__, "a message of type %u", header->type);
    }
}

void channel_receive(struct channel *channel, void (*handler)(struct channel *channel, struct frame *frame))
{
    struct ring *ring = &channel->in;
    uint32_t old = ring->shared->cons;

    clear_pending(channel->port);
    do {
        while (ring->shared->prod != ring->index) {
            const struct netchannel2_msg_hdr *header = (void *)(ring->bytes + ring->index % ring->size);

            expect(header->size && header->size % 8 == 0);
            expect(ring->index % ring->size + header->size <= ring->size);
            handle(channel, header, header->size, handler);
            ring->index += header->size;
            ring->shared->cons = ring->index;
        }
        ring->shared->prod_event = ring->index + 1;
        barrier();
    } while (ring->shared->prod != ring->index);
    if (ring->index - ring->shared->cons_event < ring->index - old)
        notify(channel->port);
}
