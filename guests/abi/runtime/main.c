/* Where a PVH guest begins. */
#include "guest.h"
#include "smp.h"

/* called by start.S on the first vCPU */
void guest_main(void)
{
    smp_init();
    test_main();
    finish();
}

const char *command_line(void)
{
    return (const char *)start_info()->cmdline_paddr;
}
