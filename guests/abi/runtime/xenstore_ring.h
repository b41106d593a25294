/* The ring to xenstore (public/io/xs_wire.h), after events_init(). */
#ifndef XENSTORE_RING_H
#define XENSTORE_RING_H

#include <stdint.h>

#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/io/xs_wire.h>

extern struct xenstore_domain_interface *store;
extern evtchn_port_t store_port;

void store_init(void);
void store_write(const void *data, uint32_t length); /* there must be room */
void store_read(void *data, uint32_t length);        /* waits for it */
void store_ask(uint32_t type, uint32_t id, const void *payload, uint32_t length);
uint32_t store_answer(uint32_t id, char *payload, uint32_t size); /* its type; expects that it fits */

#endif
