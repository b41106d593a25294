/* The PV console (public/io/console.h), after events_init(). */
#ifndef CONSOLE_RING_H
#define CONSOLE_RING_H

#include <stddef.h>
#include <stdint.h>

#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/io/console.h>

extern struct xencons_interface *console_ring;
extern evtchn_port_t console_port;

void console_ring_init(void);
void console_ring_write(const char *text, size_t length); /* waits for room */
void console_ring_read_line(char *line, size_t size);     /* with its newline */

#endif
