/* Code that changes: before a call, right ahead, through another mapping, across pages. */
#include "guest.h"

#include "cpu.h"
#include "memory.h"

#define ALIAS FREE_VIRTUAL

static page_t code[2];

/* mov $value, %eax; ret */
static void write_function(uint8_t *at, uint32_t value)
{
    at[0] = 0xb8;
    memcpy(at + 1, &value, 4);
    at[5] = 0xc3;
}

static uint32_t call(const void *at)
{
    uint32_t (*function)(void) = at;

    return function();
}

/* an instruction that overwrites the operand of the one behind it */
static uint32_t overwrite_next(void)
{
    uint32_t result;

    __asm__ volatile("lea 1f(%%rip), %%rdx\n\t"
                     "movl $77, 1(%%rdx)\n"
                     "1: mov $5, %%eax" : "=a"(result) : : "rdx", "memory");
    return result;
}

static void test_alias(void)
{
    map_page(ALIAS, (uint64_t)&code[0], PTE_PRESENT | PTE_WRITE);
    for (uint32_t i = 0; i < 50; i++) {
        write_function((uint8_t *)ALIAS, i);
        expect_equal(call(code[0].bytes), i);
        write_function(code[0].bytes, i + 1000);
        expect_equal(call((void *)ALIAS), i + 1000);
    }
}

/* an instruction that lies across two pages, of which only the second changes */
static void test_across_pages(void)
{
    uint8_t *across = &code[0].bytes[4096 - 3];

    write_function(across, 0x01020304);
    expect_equal(call(across), 0x01020304);
    code[1].bytes[1] = 0x55;
    expect_equal(call(across), 0x55020304);
}

void test_main(void)
{
    for (uint32_t i = 0; i < 200; i++) {
        write_function(code[0].bytes, i);
        expect_equal(call(code[0].bytes), i);
    }
    test_alias();
    test_across_pages();
    expect_equal(overwrite_next(), 77);
    expect_equal(overwrite_next(), 77);
}
