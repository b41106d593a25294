/* The console's and xenstore's rings: where the parameters say, announced by their event channels. */
#include "guest.h"

#include <xen/errno.h>
#include <xen/hvm/params.h>

#include "console_ring.h"
#include "events.h"
#include "xenstore_ring.h"

static void test_xenstore(void)
{
    static const char path[] = "name";
    char answer[64];

    store_init();
    store_ask(XS_READ, 42, path, sizeof(path));
    expect_equal(store_answer(42, answer, sizeof(answer)), XS_READ);
    printk("xenstore says %s\n", answer);
}

void test_main(void)
{
    static char text[5000], line[200];

    events_init();
    console_ring_init();
    expect_equal(set_hvm_param(HVM_PARAM_CONSOLE_PFN, 1), -XEN_EPERM);

    memset(text, 'x', sizeof(text) - 2);
    text[sizeof(text) - 2] = '\n';
    console_ring_write(text, strlen(text)); /* more than the ring holds */
    console_ring_write("ready\n", 6);
    console_ring_read_line(line, sizeof(line));
    printk("read: %s", line);
    test_xenstore();
}
