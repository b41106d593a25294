/*
 * The interface of netchannel2, as Linux had it in Xen 4.0's time: two byte rings with messages, and the messages of
 * network packets. Names, layouts and numbers are the interface's; the rest is Xenolith's.
 */
#ifndef NETCHANNEL2_H
#define NETCHANNEL2_H

#include <stdint.h>

/* one direction; the producer writes prod and cons_event, the consumer cons and prod_event */
struct netchannel2_sring {
    uint32_t prod;
    uint32_t cons;
    uint32_t prod_event;
    uint32_t cons_event;
    uint8_t pad[48];
};

/* the control page: the end that provides the memory is the frontend, and produces first */
struct netchannel2_shared {
    struct netchannel2_sring frontends;
    struct netchannel2_sring backends;
};

#define NETCHANNEL2_MSG_SET_MAX_PACKETS 1
#define NETCHANNEL2_MSG_PACKET 2
#define NETCHANNEL2_MSG_FINISH_PACKET 3
#define NETCHANNEL2_MSG_SET_OFFLOAD 4
#define NETCHANNEL2_MSG_SET_MAX_FRAGMENTS_PER_PACKET 5
#define NETCHANNEL2_MSG_BYPASS_FRONTEND 9
#define NETCHANNEL2_MSG_BYPASS_BACKEND 10
#define NETCHANNEL2_MSG_BYPASS_FRONTEND_READY 11
#define NETCHANNEL2_MSG_BYPASS_READY 12
#define NETCHANNEL2_MSG_BYPASS_DISABLE 13
#define NETCHANNEL2_MSG_BYPASS_DISABLED 14
#define NETCHANNEL2_MSG_BYPASS_DETACH 15
#define NETCHANNEL2_MSG_BYPASS_DETACHED 16
#define NETCHANNEL2_MSG_SUGGEST_BYPASS 17
#define NETCHANNEL2_MSG_PAD 255

#define NETCHANNEL2_MAX_PACKET_BYTES 65536
#define NETCHANNEL2_MAX_INLINE_BYTES 256

/* size: of the whole message, a multiple of 8 */
struct netchannel2_msg_hdr {
    uint8_t type;
    uint8_t flags;
    uint16_t size;
};

struct netchannel2_msg_set_max_packets {
    struct netchannel2_msg_hdr hdr;
    uint32_t max_outstanding_packets;
};

struct netchannel2_fragment {
    uint16_t size;
    uint16_t off;
    uint32_t gref;
};

#define NC2_PACKET_FLAG_csum_blank 1
#define NC2_PACKET_FLAG_data_validated 2
#define NC2_PACKET_FLAG_bypass_candidate 4
#define NC2_PACKET_FLAG_need_event 8

#define NC2_PACKET_TYPE_receiver_copy 1
#define NC2_PACKET_TYPE_receiver_map 3
#define NC2_PACKET_TYPE_small 4

#define NC2_PACKET_SEGMENTATION_TYPE_none 0
#define NC2_PACKET_SEGMENTATION_TYPE_tcpv4 1

/* followed by fragments, as many as hdr.size leaves room for, and then the prefix */
struct netchannel2_msg_packet {
    struct netchannel2_msg_hdr hdr;
    uint32_t id;
    uint8_t type;
    uint8_t flags;
    uint8_t segmentation_type;
    uint8_t pad;
    uint16_t prefix_size;
    uint16_t mss;
    uint16_t csum_start;
    uint16_t csum_offset;
};

struct netchannel2_msg_finish_packet {
    struct netchannel2_msg_hdr hdr;
    uint32_t id;
};

struct netchannel2_msg_set_offload {
    struct netchannel2_msg_hdr hdr;
    uint8_t csum;
    uint8_t tcpv4_segmentation_offload;
    uint16_t reserved;
};

struct netchannel2_msg_set_max_fragments_per_packet {
    struct netchannel2_msg_hdr hdr;
    uint32_t max_frags_per_packet;
};

#endif
