/* The frontend's end of a channel of netchannel2: rings, packets in both directions. */
#ifndef CHANNEL_H
#define CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include <xen/event_channel.h>

#include "netchannel2.h"

#define MAX_ORDER 4

struct frame {
    uint8_t *data;
    uint32_t size;
    uint16_t csum_start, csum_offset; /* from the frame's first byte, if the checksum is blank */
    bool csum_blank;
};

struct ring {
    volatile struct netchannel2_sring *shared;
    uint8_t *bytes;
    uint32_t size;
    uint32_t index; /* private: of what is produced or consumed, but not shown yet */
};

struct channel {
    struct ring out, in;
    evtchn_port_t port;
    uint32_t max_packets, max_fragments, outstanding;
    bool may_leave_csum;
};

/* what the guest has seen, of all channels */
extern struct channel_totals {
    uint64_t sent, received, small, fragments, finished, dropped;
} totals;

/* offer a channel; queue is its number, or -1 if there is only one */
void channel_open(struct channel *channel, int queue, unsigned int order);

/* false if there is no room for it now */
bool channel_send(struct channel *channel, const struct frame *frame);

/* take all messages there are; handler is called for each packet */
void channel_receive(struct channel *channel, void (*handler)(struct channel *channel, struct frame *frame));

#endif
