/* As much of ARP, IPv4, ICMP and UDP as an echo needs. */
#ifndef INTERNET_H
#define INTERNET_H

#include <stdbool.h>
#include <stdint.h>

#include "channel.h"

extern uint8_t own_mac[6];
extern uint32_t own_address; /* in the host's order, as all addresses here */

extern struct internet_totals {
    uint64_t bad_checksums, requests, echoes;
} internet;

/* answer a request, or count the answer to one of ours */
void internet_receive(struct channel *channel, struct frame *frame);

/* ask for a peer's address, which is known once peer_is_known */
void internet_resolve(struct channel *channel, uint32_t peer);
extern bool peer_is_known;

/* send so many bytes for the peer to echo: by UDP to its port, or by ICMP if that is 0 */
bool internet_ask(struct channel *channel, uint32_t peer, uint16_t port, uint16_t sequence, uint32_t size);

#endif
