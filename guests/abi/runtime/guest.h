/*
 * A guest: what it starts from, how it prints, reports and ends. A guest defines test_main() and may return from it;
 * it then ends with "Test result: SUCCESS", or FAILURE if any expectation was not met.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xen/xen.h>
#include <xen/sched.h>
#include <xen/arch-x86/hvm/start_info.h>

#include "hypercall.h"
#include "layout.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define PAGE_SIZE 4096ul
#define PAGE_SHIFT 12

typedef struct { uint8_t bytes[4096]; } __attribute__((aligned(4096))) page_t;

void test_main(void);

extern uint64_t start_info_address;

static inline const struct hvm_start_info *start_info(void)
{
    return (const struct hvm_start_info *)start_info_address;
}

const char *command_line(void);

/* the value of "name=" in the command line, in any base that C knows */
uint64_t option(const char *name, uint64_t absent);

void printk(const char *format, ...) __attribute__((format(printf, 1, 2)));
void console_write(const char *text, size_t length); /* by console_io */
void debug_port_write(const char *text, size_t length);

void fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* report what is not as it should be, and go on */
#define expect(condition) \
    do { if (!(condition)) fail(__FILE__, __LINE__, "%s", #condition); } while (0)
#define expect_equal(actual, expected) do { \
        uint64_t actual_ = (uint64_t)(actual), expected_ = (uint64_t)(expected); \
        if (actual_ != expected_) \
            fail(__FILE__, __LINE__, "%s is %#lx, not %s = %#lx", #actual, actual_, #expected, expected_); \
    } while (0)

void finish(void) __attribute__((noreturn)); /* print the result and power off */
void shutdown(unsigned int reason) __attribute__((noreturn));

void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *text);

#endif
