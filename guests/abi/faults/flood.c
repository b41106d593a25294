/* Prints for ever, to where the command line says. */
#include "guest.h"

#include "console_ring.h"
#include "events.h"

static char text[1024];

void test_main(void)
{
    const char *where = (const char *)start_info()->cmdline_paddr;

    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\n';
    events_init();
    console_ring_init();
    printk("flooding\n");
    for (;;) {
        if (where[0] == 'r') /* ring */
            console_ring_write(text, sizeof(text));
        else if (where[0] == 'p') /* port */
            debug_port_write(text, sizeof(text));
        else
            console_write(text, sizeof(text));
    }
}
