/* Debug registers: what may be in them, breakpoints on instructions, single steps. */
#include "pv.h"
#include "traps.h"

#define DR7_FIXED 0x400ul
#define DR6_FIXED 0xffff0ff0ul
#define RF (1ul << 16)

static struct frame seen[4];
static unsigned int struck;

static long set_debugreg(unsigned int number, uint64_t value)
{
    return hypercall3(__HYPERVISOR_set_debugreg, number, value, 0);
}

static uint64_t get_debugreg(unsigned int number)
{
    return hypercall3(__HYPERVISOR_get_debugreg, number, 0, 0);
}

static void on_debug(struct frame *frame)
{
    if (struck < ARRAY_SIZE(seen))
        seen[struck] = *frame;
    struck++;
    frame->rflags &= ~(uint64_t)EFLAGS_TF;
}

static void values(void)
{
    expect_equal(get_debugreg(6), DR6_FIXED);
    expect_equal(get_debugreg(7), DR7_FIXED);
    expect_equal(get_debugreg(8), -XEN_ENODEV);
    expect_equal(set_debugreg(8, 0), -XEN_ENODEV);
    expect_equal(set_debugreg(0, 0x123456), 0);
    expect_equal(get_debugreg(0), 0x123456);
    expect_equal(set_debugreg(1, 0xffff800000000000), -XEN_EPERM); /* Xen's own */
    expect_equal(set_debugreg(1, 0x800000000000), -XEN_EPERM);     /* no address */
    expect_equal(set_debugreg(7, 1ul << 32), -XEN_EINVAL);
    expect_equal(set_debugreg(6, 1ul << 32), -XEN_EINVAL);
    expect_equal(set_debugreg(7, 1 << 13), -XEN_EPERM);
    expect_equal(set_debugreg(7, 1 | 2 << 16), -XEN_EPERM); /* on a port */
    expect_equal(set_debugreg(7, 0), 0);
    expect_equal(get_debugreg(7), DR7_FIXED);
    expect_equal(get_debugreg(5), DR7_FIXED);
}

static __attribute__((noinline)) uint64_t function(uint64_t x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

static void breakpoint_on_an_instruction(void)
{
    struck = 0;
    expect_equal(set_debugreg(2, (uint64_t)function), 0);
    expect_equal(set_debugreg(7, 1 << 4), 0);
    expect_equal(function(1), 2);
    expect_equal(struck, 1);
    expect_equal(seen[0].rip, (uint64_t)function);
    expect_equal(seen[0].rflags & RF, RF);
    expect_equal(get_debugreg(6), DR6_FIXED | 4);
    expect_equal(function(2), 3);
    expect_equal(struck, 2);
    __asm__ volatile("mov %0, %%dr7" : : "r"(0ul));
    expect_equal(function(3), 4);
    expect_equal(struck, 2);
    expect_equal(set_debugreg(6, 0), 0);
    expect_equal(get_debugreg(6), DR6_FIXED);
}

static void single_step(void)
{
    struck = 0;
    __asm__ volatile("pushf; orl $0x100, (%%rsp); popf; nop; nop" : : : "memory", "cc");
    expect_equal(struck, 1);
    expect_equal(seen[0].rflags & RF, 0);
    expect_equal(get_debugreg(6) & 0x4000, 0x4000);
}

void test_main(void)
{
    set_handler(DB, on_debug);
    values();
    breakpoint_on_an_instruction();
    single_step();
}
