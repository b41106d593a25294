/* What any frontend does: grants, event channels, and its device's directory in xenstore. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdint.h>

#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/io/xenbus.h>

void device_init(void);

/* let domain 0 use a page of ours, from now on */
grant_ref_t grant_page(const void *page, uint16_t flags);

evtchn_port_t open_port(void);
/* sleep until one of the ports is pending, or for so many ns */
void sleep_for_events(evtchn_port_t *ports, unsigned int count, uint64_t ns);

/* names are below the frontend's directory; a name ends with queue and number unless these are negative */
void write_node(const char *name, int queue, int number, uint64_t value);
void read_node(const char *name, char *text, uint32_t size);
void switch_state(XenbusState state);
XenbusState backend_state(void);
void await_backend(XenbusState state);

#endif
