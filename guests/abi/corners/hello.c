/* The runtime itself: that a guest starts, prints both ways and ends. */
#include "guest.h"

void test_main(void)
{
    debug_port_write("by the debug port\n", 18);
    printk("by console_io: %d %u %#lx %s\n", -7, 7u, 0x1234abcdul, "text");
    expect_equal(start_info()->magic, XEN_HVM_START_MAGIC_VALUE);
    expect_equal(option("answer", 0), 42);
}
