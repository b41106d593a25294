/* Where a PV guest's C begins. */
#include "pv.h"
#include "traps.h"

/* called by start.S on the first vCPU */
void guest_main(void)
{
    traps_init_vcpu(0);
    test_main();
    finish();
}

const char *command_line(void)
{
    return (const char *)pv_start_info()->cmd_line;
}
