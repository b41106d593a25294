/*
 * Measures what a hypercall costs that does next to nothing: xen_version(XENVER_version). Prints a line
 * "GBENCH hypercall count seconds" for each of several rounds, then "GBENCH end"; time is the TSC's.
 */
#include "guest.h"
#include "cpu.h"

#include <xen/version.h>
#include <xen/arch-x86/cpuid.h>

#define ROUNDS 5
#define CALLS 50000u

static void call_many(unsigned int count)
{
    while (count--)
        hypercall(__HYPERVISOR_xen_version, XENVER_version, NULL);
}

void test_main(void)
{
    uint64_t khz = cpuid(XEN_CPUID_LEAF(3), 0).ecx;

    call_many(CALLS / 10); /* the first ones are slower */
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t began = rdtsc(), microseconds;

        call_many(CALLS);
        microseconds = (rdtsc() - began) * 1000 / khz;
        printk("GBENCH hypercall %u %lu.%06lu\n", CALLS, microseconds / 1000000, microseconds % 1000000);
    }
    printk("GBENCH end\n");
}
