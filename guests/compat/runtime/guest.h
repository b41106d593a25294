/*
 * A guest of 32 bits: hypercalls by VMMCALL, printing and reporting. A guest defines test_main() and returns from it;
 * it then ends with "Test result: SUCCESS", or FAILURE if any expectation was not met.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xen/xen.h>

#define PAGE_SIZE 4096u

typedef struct { uint8_t bytes[PAGE_SIZE]; } __attribute__((aligned(PAGE_SIZE))) page_t;

void test_main(void);

void print(const char *text);
void print_number(uint32_t number);
void expect_failed(int line, const char *what, uint32_t actual, uint32_t expected);

/* report what is not as it should be, and go on */
#define expect_equal(actual, expected) do { \
        uint32_t actual_ = (uint32_t)(actual), expected_ = (uint32_t)(expected); \
        if (actual_ != expected_) \
            expect_failed(__LINE__, #actual, actual_, expected_); \
    } while (0)
#define expect(condition) expect_equal(!!(condition), true)

void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);

static inline uint32_t frame_of(const volatile void *address)
{
    return (uint32_t)address / PAGE_SIZE;
}

/* the argument registers are clobbered: a continuation changes them */
static inline int hypercall5(uint32_t number, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t a4, uint32_t a5)
{
    int result;

    __asm__ volatile("vmmcall"
                     : "=a"(result), "+b"(a1), "+c"(a2), "+d"(a3), "+S"(a4), "+D"(a5)
                     : "0"(number)
                     : "memory");
    return result;
}

static inline int hypercall3(uint32_t number, uint32_t a1, uint32_t a2, uint32_t a3)
{
    return hypercall5(number, a1, a2, a3, 0, 0);
}

/* the usual kind: a command, and a struct that is its argument */
static inline int hypercall(uint32_t number, uint32_t command, const void *argument)
{
    return hypercall5(number, command, (uint32_t)argument, 0, 0, 0);
}

static inline void write_msr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

#endif
