/* Headers by offset; every checksum of what comes is verified. */
#include "guest.h"

#include "internet.h"

#define ETHERNET 14
#define IP (ETHERNET)
#define TRANSPORT (ETHERNET + 20)
#define PAYLOAD (TRANSPORT + 8) /* of ICMP's echo and of UDP alike */
#define ECHO_PORT 7
#define OUR_PORT 4000

enum { ICMP = 1, UDP = 17 };

uint8_t own_mac[6];
uint32_t own_address;
bool peer_is_known;
struct internet_totals internet;

static uint8_t peer_mac[6];

static uint32_t get(const uint8_t *at, unsigned int bytes)
{
    uint32_t value = 0;

    while (bytes--)
        value = value << 8 | *at++;
    return value;
}

static void set(uint8_t *at, unsigned int bytes, uint32_t value)
{
    while (bytes--) {
        at[bytes] = value;
        value >>= 8;
    }
}

static uint32_t sum(const uint8_t *data, uint32_t size, uint32_t total)
{
    for (uint32_t i = 0; i + 1 < size; i += 2)
        total += data[i] << 8 | data[i + 1];
    if (size & 1)
        total += data[size - 1] << 8;
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return total;
}

static uint32_t pseudo_sum(const uint8_t *data, uint32_t length)
{
    return sum(data + IP + 12, 8, data[IP + 9] + length);
}

static uint32_t total_length(const uint8_t *data)
{
    return get(data + IP + 2, 2);
}

/* do what the sender has left; then nothing may be wrong */
static bool verify(struct frame *frame)
{
    uint8_t *data = frame->data;
    uint32_t length = total_length(data) - 20;

    if (frame->csum_blank) {
        expect_equal(frame->csum_start, TRANSPORT);
        expect_equal(frame->csum_offset, TRANSPORT + 6);
        set(data + frame->csum_offset, 2,
            ~sum(data + frame->csum_start, ETHERNET + 20 + length - frame->csum_start, 0));
    }
    if (sum(data + IP, 20, 0) != 0xffff)
        return false;
    /* UDP may do without */
    if (data[IP + 9] == UDP && !get(data + TRANSPORT + 6, 2))
        return true;
    return sum(data + TRANSPORT, length, data[IP + 9] == UDP ? pseudo_sum(data, length) : 0) == 0xffff;
}

static void send(struct channel *channel, struct frame *frame)
{
    if (!channel_send(channel, frame))
        totals.dropped++;
}

/* fill in the checksums of IP and of what it carries, or leave the latter to the backend */
static void complete(struct channel *channel, struct frame *frame)
{
    uint8_t *data = frame->data;
    uint32_t length = total_length(data) - 20;

    set(data + IP + 10, 2, 0);
    set(data + IP + 10, 2, ~sum(data + IP, 20, 0));
    frame->csum_blank = false;
    if (data[IP + 9] == ICMP) {
        set(data + TRANSPORT + 2, 2, 0);
        set(data + TRANSPORT + 2, 2, ~sum(data + TRANSPORT, length, 0));
    } else if (channel->may_leave_csum && option("offload", 1)) {
        frame->csum_blank = true;
        frame->csum_start = TRANSPORT;
        frame->csum_offset = TRANSPORT + 6;
        set(data + TRANSPORT + 6, 2, pseudo_sum(data, length));
    } else {
        set(data + TRANSPORT + 6, 2, 0);
        set(data + TRANSPORT + 6, 2, ~sum(data + TRANSPORT, length, pseudo_sum(data, length)));
    }
}

static void answer(struct channel *channel, struct frame *frame)
{
    uint8_t *data = frame->data;

    memcpy(data, data + 6, 6);
    memcpy(data + 6, own_mac, 6);
    memcpy(data + IP + 16, data + IP + 12, 4);
    set(data + IP + 12, 4, own_address);
    if (data[IP + 9] == ICMP) {
        data[TRANSPORT] = 0;
    } else {
        memcpy(data + TRANSPORT + 2, data + TRANSPORT, 2);
        set(data + TRANSPORT, 2, ECHO_PORT);
    }
    frame->size = ETHERNET + total_length(data);
    complete(channel, frame);
    internet.requests++;
    send(channel, frame);
}

static uint8_t payload_byte(uint32_t at, uint16_t sequence)
{
    return at * 7 + (at >> 8) + sequence;
}

static void check_echo(const uint8_t *data)
{
    uint16_t sequence = get(data + PAYLOAD, 2);
    uint32_t size = total_length(data) - 28;

    for (uint32_t at = 2; at < size; at++)
        if (data[PAYLOAD + at] != payload_byte(at, sequence)) {
            fail(__FILE__, __LINE__, "byte %u of echo %u is not what was sent", at, sequence);
            return;
        }
    internet.echoes++;
}

static void receive_ip(struct channel *channel, struct frame *frame)
{
    const uint8_t *data = frame->data;

    if (frame->size < PAYLOAD || data[IP] != 0x45 || get(data + IP + 16, 4) != own_address ||
        total_length(data) < 28 || ETHERNET + total_length(data) > frame->size || get(data + IP + 6, 2) & 0x3fff)
        return;
    if (data[IP + 9] != ICMP && data[IP + 9] != UDP)
        return;
    if (!verify(frame)) {
        internet.bad_checksums++;
        return;
    }
    if (data[IP + 9] == ICMP ? data[TRANSPORT] == 8 : get(data + TRANSPORT + 2, 2) == ECHO_PORT)
        answer(channel, frame);
    else if (data[IP + 9] == ICMP ? data[TRANSPORT] == 0 : get(data + TRANSPORT + 2, 2) == OUR_PORT)
        check_echo(data);
}

static void make_arp(uint8_t *data, uint16_t operation, const uint8_t *target, uint32_t target_address)
{
    memcpy(data, target, 6);
    memcpy(data + 6, own_mac, 6);
    set(data + 12, 2, 0x0806);
    set(data + 14, 4, 0x00010800);
    set(data + 18, 2, 0x0604);
    set(data + 20, 2, operation);
    memcpy(data + 22, own_mac, 6);
    set(data + 28, 4, own_address);
    memcpy(data + 32, target, 6);
    set(data + 38, 4, target_address);
}

static void receive_arp(struct channel *channel, struct frame *frame)
{
    uint8_t *data = frame->data, sender[6];
    uint32_t address;

    if (frame->size < 42 || get(data + 38, 4) != own_address)
        return;
    memcpy(sender, data + 22, 6);
    address = get(data + 28, 4);
    if (get(data + 20, 2) == 2) {
        memcpy(peer_mac, sender, 6);
        peer_is_known = true;
    } else {
        struct frame reply = { .data = data, .size = 42 };

        make_arp(data, 2, sender, address);
        send(channel, &reply);
    }
}

void internet_receive(struct channel *channel, struct frame *frame)
{
    if (frame->size < ETHERNET)
        return;
    if (get(frame->data + 12, 2) == 0x0806)
        receive_arp(channel, frame);
    else if (get(frame->data + 12, 2) == 0x0800)
        receive_ip(channel, frame);
}

void internet_resolve(struct channel *channel, uint32_t peer)
{
    static const uint8_t everybody[6] = { 255, 255, 255, 255, 255, 255 };
    uint8_t data[42];
    struct frame frame = { .data = data, .size = sizeof(data) };

    make_arp(data, 1, everybody, peer);
    send(channel, &frame);
}

bool internet_ask(struct channel *channel, uint32_t peer, uint16_t port, uint16_t sequence, uint32_t size)
{
    static uint8_t data[NETCHANNEL2_MAX_PACKET_BYTES];
    struct frame frame = { .data = data, .size = PAYLOAD + size };

    memset(data, 0, PAYLOAD);
    memcpy(data, peer_mac, 6);
    memcpy(data + 6, own_mac, 6);
    set(data + 12, 2, 0x0800);
    data[IP] = 0x45;
    set(data + IP + 2, 2, 28 + size);
    data[IP + 8] = 64;
    data[IP + 9] = port ? UDP : ICMP;
    set(data + IP + 12, 4, own_address);
    set(data + IP + 16, 4, peer);
    if (port) {
        set(data + TRANSPORT, 2, OUR_PORT);
        set(data + TRANSPORT + 2, 2, port);
        set(data + TRANSPORT + 4, 2, 8 + size);
    } else {
        data[TRANSPORT] = 8;
        set(data + TRANSPORT + 4, 4, 0x4711 << 16 | sequence);
    }
    set(data + PAYLOAD, 2, sequence);
    for (uint32_t at = 2; at < size; at++)
        data[PAYLOAD + at] = payload_byte(at, sequence);
    complete(channel, &frame);
    return channel_send(channel, &frame);
}
