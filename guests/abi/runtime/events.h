/* Event channels over the 2-level ABI, and the clock of the vcpu_info. */
#ifndef EVENTS_H
#define EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include <xen/xen.h>
#include <xen/event_channel.h>

#define UPCALL_VECTOR 0xf3

#define MILLISECONDS 1000000ull
#define SECONDS 1000000000ull

extern struct shared_info shared_info; /* in a page of its own; mapped by events_init() */

void shared_info_map(void);
void events_init(void); /* map the shared info and take upcalls by callback vector; interrupts stay off */
void set_event_handler(evtchn_port_t port, void (*handler)(evtchn_port_t port));
void handle_events(void); /* what an upcall does */

evtchn_port_t bind_virq(unsigned int virq, unsigned int vcpu);
evtchn_port_t bind_ipi(unsigned int vcpu);
long notify(evtchn_port_t port);
long unmask(evtchn_port_t port);
void wait_for_event(evtchn_port_t port); /* SCHEDOP_poll, and clear it */
bool is_pending(evtchn_port_t port);
void clear_pending(evtchn_port_t port);
void mask(evtchn_port_t port);

uint64_t hvm_param(unsigned int index);
long set_hvm_param(unsigned int index, uint64_t value);

uint64_t system_time(void); /* ns, by this vCPU's vcpu_info */

#endif
