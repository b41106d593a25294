/* A fault without a gate to go by is a triple fault. */
#include "guest.h"

void test_main(void)
{
    struct __attribute__((packed)) { uint16_t limit; uint64_t base; } none = { 0, 0 };

    __asm__ volatile("lidt %0; ud2" : : "m"(none));
}
