/* CR4: what comes with a feature that CPUID does not show cannot be set. */
#include "guest.h"

#include "cpu.h"
#include "traps.h"

#define CR4_PAE 5
#define CR4_BITS 26

/* where CPUID shows what a bit of CR4 comes with */
struct feature { uint32_t leaf, reg, bit; };
enum { ALWAYS, EBX, ECX, EDX };

static const struct feature features[CR4_BITS] = {
    [0] = { 1, EDX, 1 },  [1] = { 1, EDX, 1 },  [2] = { 1, EDX, 4 },   [3] = { 1, EDX, 2 },   [4] = { 1, EDX, 3 },
    [5] = { 1, EDX, 6 },  [6] = { 1, EDX, 7 },  [7] = { 1, EDX, 13 },  [8] = { 0, ALWAYS, 0 }, [9] = { 1, EDX, 24 },
    [10] = { 1, EDX, 25 }, [11] = { 7, ECX, 2 }, [12] = { 7, ECX, 16 }, [13] = { 1, ECX, 5 },   [14] = { 1, ECX, 6 },
    [16] = { 7, EBX, 0 }, [17] = { 1, ECX, 17 }, [18] = { 1, ECX, 26 }, [20] = { 7, EBX, 7 },   [21] = { 7, EBX, 20 },
    [22] = { 7, ECX, 3 }, [23] = { 7, ECX, 7 },
};

static bool is_shown(unsigned int bit)
{
    const struct feature *feature = &features[bit];
    struct cpuid r = cpuid(feature->leaf, 0);
    uint32_t word[] = { 1, r.ebx, r.ecx, r.edx };

    return (feature->leaf || bit == 8) && word[feature->reg] >> feature->bit & 1;
}

void test_main(void)
{
    uint64_t cr4 = read_cr4();

    for (unsigned int bit = 0; bit < 64; bit++) {
        if (bit >= CR4_BITS || !is_shown(bit)) {
            expect_fault(write_cr4(cr4 | 1ul << bit), GP, 0);
            expect_equal(read_cr4(), cr4);
        } else if (bit != CR4_PAE) {
            write_cr4(cr4 | 1ul << bit);
            expect_equal(read_cr4(), cr4 | 1ul << bit);
            write_cr4(cr4 & ~(1ul << bit));
            expect_equal(read_cr4(), cr4 & ~(1ul << bit));
            write_cr4(cr4);
        }
    }
    expect_fault(write_cr4(cr4 & ~(1ul << CR4_PAE)), GP, 0); /* in long mode */

    /* other encodings of the same */
    __asm__ volatile("mov %0, %%r12; mov %%r12, %%cr4" : : "r"(cr4) : "r12", "memory");
    expect_equal(read_cr4(), cr4);
    expect_fault(__asm__ volatile("mov %0, %%r12; bts $13, %%r12; .byte 0x67; mov %%r12, %%cr4" : : "r"(cr4)
                                  : "r12", "memory"), GP, 0);
    expect_equal(read_cr4(), cr4);
}
