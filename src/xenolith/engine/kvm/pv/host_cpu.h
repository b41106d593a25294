/*
 * CPUID and XGETBV, which Python cannot execute.
 */
#ifndef XENOLITH_HOST_CPU_H
#define XENOLITH_HOST_CPU_H

#include <stdint.h>

void xenolith_kvm_host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4])
{
    __asm__("cpuid"
            : "=a"(registers[0]), "=b"(registers[1]), "=c"(registers[2]), "=d"(registers[3])
            : "0"(leaf), "2"(subleaf));
}

uint64_t xenolith_kvm_host_xcr0(void)
{
    uint32_t low, high;

    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

#endif
