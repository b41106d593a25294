/* Hypercalls, made as Linux makes them on an AMD processor: VMMCALL, number in RAX. */
#ifndef HYPERCALL_H
#define HYPERCALL_H

#include <stdint.h>

#ifndef HYPERCALL_INSTRUCTION
/* an engine may have another one, which it has in the hypercall page */
#define HYPERCALL_INSTRUCTION "vmmcall"
#endif

static inline long hypercall5(unsigned long number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
    register uint64_t r10 __asm__("r10") = a4;
    register uint64_t r8 __asm__("r8") = a5;
    long result;

    /* the argument registers are clobbered: a continuation changes them */
    __asm__ volatile(HYPERCALL_INSTRUCTION
                     : "=a"(result), "+D"(a1), "+S"(a2), "+d"(a3), "+r"(r10), "+r"(r8)
                     : "0"(number)
                     : "memory", "rcx", "r11");
    return result;
}

static inline long hypercall3(unsigned long number, uint64_t a1, uint64_t a2, uint64_t a3)
{
    return hypercall5(number, a1, a2, a3, 0, 0);
}

/* the usual kind: a command, and a struct that is its argument */
static inline long hypercall(unsigned long number, uint64_t command, void *argument)
{
    return hypercall5(number, command, (uint64_t)argument, 0, 0, 0);
}

#endif
