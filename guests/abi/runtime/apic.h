/* The local APIC in both of its modes. */
#ifndef APIC_H
#define APIC_H

#include <stdint.h>

#include "cpu.h"

#define APIC_PAGE 0xfee00000ull

enum {
    APIC_ID = 0x20, APIC_VERSION = 0x30, APIC_TPR = 0x80, APIC_PPR = 0xa0, APIC_EOI = 0xb0, APIC_LDR = 0xd0,
    APIC_DFR = 0xe0, APIC_SVR = 0xf0, APIC_ISR = 0x100, APIC_IRR = 0x200, APIC_ESR = 0x280, APIC_ICR = 0x300,
    APIC_ICR_HIGH = 0x310, APIC_LVT_TIMER = 0x320, APIC_TIMER_INITIAL = 0x380, APIC_TIMER_CURRENT = 0x390,
    APIC_TIMER_DIVIDE = 0x3e0, APIC_SELF_IPI = 0x3f0,
};

#define APIC_SVR_ENABLE 0x100
#define APIC_BASE_ENABLE (1u << 11)
#define APIC_BASE_X2APIC (1u << 10)

/* ICR: delivery modes and destination shorthands */
#define ICR_NMI (4u << 8)
#define ICR_INIT (5u << 8)
#define ICR_STARTUP (6u << 8)
#define ICR_ASSERT (1u << 14)
#define ICR_SELF (1u << 18)
#define ICR_OTHERS (3u << 18)

static inline uint32_t apic_read(unsigned int offset)
{
    return *(volatile uint32_t *)(APIC_PAGE + offset);
}

static inline void apic_write(unsigned int offset, uint32_t value)
{
    *(volatile uint32_t *)(APIC_PAGE + offset) = value;
}

static inline uint64_t x2apic_read(unsigned int offset) { return rdmsr(0x800 + offset / 16); }
static inline void x2apic_write(unsigned int offset, uint64_t value) { wrmsr(0x800 + offset / 16, value); }

#endif
