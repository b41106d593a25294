/* Loads and stores of every size and alignment to the local APIC's page and to where nothing is. */
#include "guest.h"

#include "apic.h"
#include "memory.h"
#include "random.h"
#include "traps.h"

#define STRIDE_ADDRESSES 48

static void access(volatile uint8_t *at, unsigned int kind)
{
    uint64_t value = random(), loaded;

    switch (kind) {
    case 0: *at = value; break;
    case 1: *(volatile uint16_t *)at = value; break;
    case 2: *(volatile uint32_t *)at = value; break;
    case 3: *(volatile uint64_t *)at = value; break;
    case 4: (void)*at; break;
    case 5: (void)*(volatile uint16_t *)at; break;
    case 6: (void)*(volatile uint32_t *)at; break;
    case 7: (void)*(volatile uint64_t *)at; break;
    case 8: __asm__ volatile("movdqu %0, %%xmm0" : : "m"(*at)); break;
    case 9: __asm__ volatile("movdqu %%xmm0, %0" : "=m"(*at)); break;
    case 10: __asm__ volatile("lock xaddq %1, %0" : "+m"(*(volatile uint64_t *)at), "=r"(loaded) : "1"(value)); break;
    case 11: __asm__ volatile("lock incl %0" : "+m"(*(volatile uint32_t *)at)); break;
    case 12: __asm__ volatile("xchg %1, %0" : "+m"(*(volatile uint16_t *)at), "=r"(loaded) : "1"(value)); break;
    case 13: memcpy((void *)at, &value, sizeof(value)); break;
    case 14: memcpy(&loaded, (const void *)at, sizeof(loaded)); break;
    case 15: __asm__ volatile("fninit; fnsave %0; frstor %0" : "+m"(*at)); break;
    case 16: __asm__ volatile("lock cmpxchg8b %0" : "+m"(*at) : "a"(0), "b"(0), "c"(0), "d"(0)); break;
    case 17: __asm__ volatile("btsl %1, %0" : "+m"(*(volatile uint32_t *)at) : "r"((uint32_t)random() % 64)); break;
    case 18: __asm__ volatile("sgdt %0" : "=m"(*at)); break;
    case 19: __asm__ volatile("maskmovdqu %%xmm0, %%xmm0" : : "D"(at) : "memory"); break;
    }
}

#define KINDS 20

/* those registers that would end the test: INIT, start-up and NMI to itself or no APIC any more */
static bool is_harmless(uint64_t address)
{
    uint64_t offset = address - APIC_PAGE;

    return offset + 128 < APIC_ICR || (offset > APIC_ICR_HIGH + 16 && offset < 4096 + 64);
}

void test_main(void)
{
    random_seed(option("seed", 1));
    set_handler(NMI, NULL);
    for (unsigned int kind = 0; kind < KINDS; kind++) {
        for (uint64_t offset = 0; offset < 4096 + 16; offset += 1 + random() % STRIDE_ADDRESSES)
            if (is_harmless(APIC_PAGE + offset))
                access((volatile uint8_t *)APIC_PAGE + offset, kind);
        for (uint64_t offset = 0; offset < 64; offset++) {
            access((volatile uint8_t *)HOLE + offset, kind);
            access((volatile uint8_t *)HOLE + 0x1000 - offset, kind); /* across two pages */
            access((volatile uint8_t *)(option("memory", 32) << 20) - offset, kind); /* out of RAM */
        }
    }
    expect_equal(*(volatile uint64_t *)HOLE, ~0ul);
    /* words that are aligned are registers; all else reads as 0 */
    apic_write(APIC_SVR, 0x1ff);
    expect_equal(apic_read(APIC_SVR), 0x1ff);
    expect_equal(apic_read(APIC_VERSION) & 0xff, 0x14);
}
