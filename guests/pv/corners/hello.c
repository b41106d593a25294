/* Says that it is there, by all that the runtime does. */
#include "pv.h"
#include "traps.h"

void test_main(void)
{
    uint64_t *page = allocate_page();

    printk("hello from a PV guest with %lu frames\n", pv_start_info()->nr_pages);
    *page = 1;
    expect_fault(__asm__ volatile("ud2"), UD, 0);
    expect_equal(remap(page, P), 0);
    expect_fault(*(volatile uint64_t *)page = 2, PF, PF_PRESENT | PF_WRITE);
    expect_equal(remap(page, P | RW), 0);
    *page = 3;
}
