/* The PV console. */
#include "guest.h"

#include <xen/hvm/params.h>

#include "console_ring.h"
#include "cpu.h"
#include "events.h"
#include "memory.h"

struct xencons_interface *console_ring;
evtchn_port_t console_port;

void console_ring_init(void)
{
    console_ring = page_at(hvm_param(HVM_PARAM_CONSOLE_PFN));
    console_port = hvm_param(HVM_PARAM_CONSOLE_EVTCHN);
}

void console_ring_write(const char *text, size_t length)
{
    volatile struct xencons_interface *ring = console_ring;

    while (length) {
        uint32_t prod = ring->out_prod;

        for (; length && prod - ring->out_cons < sizeof(ring->out); length--)
            ring->out[prod++ % sizeof(ring->out)] = *text++;
        barrier();
        ring->out_prod = prod;
        notify(console_port);
        if (length)
            wait_for_event(console_port);
    }
}

void console_ring_read_line(char *line, size_t size)
{
    volatile struct xencons_interface *ring = console_ring;
    char c;

    do {
        while (ring->in_prod == ring->in_cons)
            wait_for_event(console_port);
        c = ring->in[ring->in_cons % sizeof(ring->in)];
        ring->in_cons++;
        if (--size)
            *line++ = c;
    } while (c != '\n' && size);
    *line = 0;
    notify(console_port);
}
