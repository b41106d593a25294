/* Where a 32-bit guest begins, how it prints and how it ends. */
#include "guest.h"

#include <xen/sched.h>

static bool failed;

void print(const char *text)
{
    size_t length = 0;

    while (text[length])
        length++;
    hypercall3(__HYPERVISOR_console_io, CONSOLEIO_write, length, (uint32_t)text);
}

void print_number(uint32_t number)
{
    char text[] = "0x00000000";

    for (int digit = 9; digit >= 2; digit--, number >>= 4)
        text[digit] = "0123456789abcdef"[number & 15];
    print(text);
}

void expect_failed(int line, const char *what, uint32_t actual, uint32_t expected)
{
    failed = true;
    print("FAILURE: line ");
    print_number(line);
    print(": ");
    print(what);
    print(" is ");
    print_number(actual);
    print(", not ");
    print_number(expected);
    print("\n");
}

void guest_main(void)
{
    struct sched_shutdown poweroff = { .reason = SHUTDOWN_poweroff };

    test_main();
    print(failed ? "Test result: FAILURE\n" : "Test result: SUCCESS\n");
    for (;;)
        hypercall(__HYPERVISOR_sched_op, SCHEDOP_shutdown, &poweroff);
}

void *memset(void *to, int byte, size_t size)
{
    for (uint8_t *at = to; size; size--)
        *at++ = byte;
    return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
    const uint8_t *source = from;

    for (uint8_t *at = to; size; size--)
        *at++ = *source++;
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *one = a, *other = b;

    for (; size; size--, one++, other++)
        if (*one != *other)
            return *one - *other;
    return 0;
}
