/* Where a legacy kernel's C begins. */
#include "guest.h"

/* called by start.S */
void guest_main(void)
{
    test_main();
    finish();
}

const char *command_line(void)
{
    return (const char *)((const start_info_t *)start_info_address)->cmd_line;
}
